curl -sS --fail-with-body http://127.0.0.1:8080/v2/orders

python tests/clients/requests_orders.py http://127.0.0.1:8080/v2
python tests/clients/http_client_orders.py http://127.0.0.1:8080/v2
