export PROXY_ACCOUNT=alpha PROXY_KEY=client-key
keytool -importcert -noprompt -alias sixgate -file ca.pem -keystore sixgate.p12 -storepass changeit
java -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080 -Djdk.http.auth.tunneling.disabledSchemes= \
  -Djavax.net.ssl.trustStore=sixgate.p12 -Djavax.net.ssl.trustStorePassword=changeit \
  tests/clients/JavaOrders.java https://api.dhan.co/v2
