export HTTPS_PROXY=http://127.0.0.1:8080 NODE_EXTRA_CA_CERTS=$PWD/ca.pem
node tests/clients/axios_orders.mjs axios
node tests/clients/axios_orders.mjs axios-0

export HTTP_PROXY=http://127.0.0.1:8080
node tests/clients/axios_orders.mjs axios http://api.dhan.co/v2
node tests/clients/axios_orders.mjs axios-0 http://api.dhan.co/v2
