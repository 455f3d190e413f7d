export HTTP_PROXY=http://127.0.0.1:8080
python tests/clients/httpx_orders.py http://api.dhan.co/v2

export HTTPS_PROXY=http://127.0.0.1:8080 SSL_CERT_FILE=$PWD/ca.pem
python tests/clients/httpx_orders.py https://api.dhan.co/v2
