// One order with java.net.http: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.
//
//     java JavaOrders.java [https://api.dhan.co/v2 | http://api.dhan.co/v2]
//
// With PROXY_ACCOUNT and PROXY_KEY in its environment it shows that client key.

import java.net.Authenticator;
import java.net.PasswordAuthentication;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.util.UUID;
import java.util.regex.Pattern;

class JavaOrders {
    static final HttpClient CLIENT = client();

    static HttpClient client() {
        var builder = HttpClient.newBuilder();
        String account = System.getenv("PROXY_ACCOUNT");
        if (account != null) {
            char[] key = System.getenv("PROXY_KEY").toCharArray();
            builder.authenticator(new Authenticator() {
                @Override
                protected PasswordAuthentication getPasswordAuthentication() {
                    return getRequestorType() == RequestorType.PROXY ? new PasswordAuthentication(account, key) : null;
                }
            });
        }
        return builder.build();
    }

    public static void main(String[] arguments) throws Exception {
        String base = arguments.length > 0 ? arguments[0] : "https://api.dhan.co/v2";
        String correlationId = "java-" + UUID.randomUUID().toString().substring(0, 13);
        String order = """
            {"correlationId": "%s", "transactionType": "BUY", "exchangeSegment": "NSE_EQ",
             "productType": "INTRADAY", "orderType": "LIMIT", "validity": "DAY",
             "securityId": "11536", "quantity": 5, "price": 3310.5}""".formatted(correlationId);
        String placed = step("place", HttpRequest.newBuilder(URI.create(base + "/orders"))
            .header("Content-Type", "application/json")
            .POST(BodyPublishers.ofString(order)));
        step("read", HttpRequest.newBuilder(URI.create(base + "/orders/external/" + correlationId)));
        // The JDK has no JSON parser.
        var orderId = Pattern.compile("\"orderId\":\"(\\d+)\"").matcher(placed);
        if (!orderId.find()) System.exit(1);
        step("cancel", HttpRequest.newBuilder(URI.create(base + "/orders/" + orderId.group(1))).DELETE());
    }

    static String step(String name, HttpRequest.Builder request) throws Exception {
        var reply = CLIENT.send(request.build(), BodyHandlers.ofString());
        System.out.printf("{\"step\": \"%s\", \"status\": %d, \"body\": %s}%n", name, reply.statusCode(), reply.body());
        if (reply.statusCode() != 200) System.exit(1);
        return reply.body();
    }
}
