php tests/clients/php_orders.php http://127.0.0.1:8080/v2     # a base URL

export http_proxy=http://127.0.0.1:8080     # in lower case, as for curl
php tests/clients/php_orders.php http://api.dhan.co/v2

export HTTPS_PROXY=http://127.0.0.1:8080
php -d curl.cainfo=$PWD/ca.pem tests/clients/php_orders.php https://api.dhan.co/v2
