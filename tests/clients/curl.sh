export http_proxy=http://127.0.0.1:8080     # in lower case; curl does not read HTTP_PROXY
curl -sS --fail-with-body -H 'Content-Type: application/json' http://api.dhan.co/v2/orders -d \
  '{"correlationId":"curl-1","transactionType":"BUY","exchangeSegment":"NSE_EQ","productType":"INTRADAY",
    "orderType":"LIMIT","validity":"DAY","securityId":"11536","quantity":5,"price":3310.5}'

export https_proxy=http://127.0.0.1:8080 CURL_CA_BUNDLE=$PWD/ca.pem
curl -sS --fail-with-body https://api.dhan.co/v2/orders/external/curl-1

# The same without variables.
order=$(curl -sS -x http://127.0.0.1:8080 --cacert ca.pem https://api.dhan.co/v2/orders/external/curl-1)
order_id=$(echo "$order" | grep -o '"orderId":"[0-9]*"' | cut -d'"' -f4)
curl -sS --fail-with-body -x http://127.0.0.1:8080 --cacert ca.pem -X DELETE "https://api.dhan.co/v2/orders/$order_id"
