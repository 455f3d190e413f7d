sixgate run alpha -- python tests/clients/requests_orders.py
