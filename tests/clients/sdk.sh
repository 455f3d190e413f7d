export HTTPS_PROXY=http://127.0.0.1:8080
export REQUESTS_CA_BUNDLE=$PWD/ca.pem SSL_CERT_FILE=$PWD/ca.pem     # its REST calls read the first, its streams the second
python tests/clients/sdk_orders.py 1000000001 sdk-1
python tests/clients/sdk_updates.py 1000000001
