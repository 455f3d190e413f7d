python tests/clients/dotnet_shaped.py http://127.0.0.1:8080/v2     # a base URL

export HTTP_PROXY=http://127.0.0.1:8080 HTTPS_PROXY=http://127.0.0.1:8080 SSL_CERT_FILE=$PWD/ca.pem
python tests/clients/dotnet_shaped.py
