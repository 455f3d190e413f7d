export HTTP_PROXY=http://127.0.0.1:8080
go run tests/clients/go_orders.go http://api.dhan.co/v2

export HTTPS_PROXY=http://127.0.0.1:8080 SSL_CERT_FILE=$PWD/ca.pem
go run tests/clients/go_orders.go https://api.dhan.co/v2
