java -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=8080 tests/clients/JavaOrders.java http://api.dhan.co/v2

keytool -importcert -noprompt -alias sixgate -file ca.pem -keystore sixgate.p12 -storepass changeit
java -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8080 \
  -Djavax.net.ssl.trustStore=sixgate.p12 -Djavax.net.ssl.trustStorePassword=changeit \
  tests/clients/JavaOrders.java https://api.dhan.co/v2
