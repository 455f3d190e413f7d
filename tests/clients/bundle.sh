cat /etc/ssl/certs/ca-certificates.crt ca.pem > bundle.pem
export HTTPS_PROXY=http://127.0.0.1:8080 REQUESTS_CA_BUNDLE=$PWD/bundle.pem
python tests/clients/requests_orders.py
