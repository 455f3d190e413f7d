export HTTPS_PROXY=http://127.0.0.1:8080 SSL_CERT_FILE=$PWD/ca.pem
python tests/clients/websocket_client_updates.py
