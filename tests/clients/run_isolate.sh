sixgate run alpha --isolate -- python tests/clients/http_client_orders.py
