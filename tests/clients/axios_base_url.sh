node tests/clients/axios_orders.mjs axios http://127.0.0.1:8080/v2
node tests/clients/axios_orders.mjs axios-0 http://127.0.0.1:8080/v2
