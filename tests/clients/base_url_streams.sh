python tests/clients/websocket_client_updates.py ws://127.0.0.1:8080/ws http://127.0.0.1:8080/v2
tungstenite_updates ws://127.0.0.1:8080/ws
