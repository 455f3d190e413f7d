export HTTPS_PROXY=http://alpha:client-key@127.0.0.1:8080 REQUESTS_CA_BUNDLE=$PWD/ca.pem
python tests/clients/requests_orders.py
