<?php
// One order with PHP's curl: place, read by correlation id, cancel. One JSON line a step; status 1 if any failed.
//
//     php php_orders.php [https://api.dhan.co/v2]

$base = $argv[1] ?? "https://api.dhan.co/v2";
$order = [
    "transactionType" => "BUY", "exchangeSegment" => "NSE_EQ", "productType" => "INTRADAY", "orderType" => "LIMIT",
    "validity" => "DAY", "securityId" => "11536", "quantity" => 5, "price" => 3310.5,
];

function step(string $name, string $method, string $url, ?array $body = null): array
{
    $curl = curl_init($url);
    curl_setopt_array($curl, [CURLOPT_RETURNTRANSFER => true, CURLOPT_CUSTOMREQUEST => $method, CURLOPT_TIMEOUT => 30]);
    if ($body !== null) {
        curl_setopt($curl, CURLOPT_POSTFIELDS, json_encode($body));
        curl_setopt($curl, CURLOPT_HTTPHEADER, ["Content-Type: application/json"]);
    }
    $reply = curl_exec($curl);
    if ($reply === false) {
        fwrite(STDERR, curl_error($curl) . "\n");
        exit(1);
    }
    $status = curl_getinfo($curl, CURLINFO_RESPONSE_CODE);
    $answer = json_decode($reply, true);
    echo json_encode(["step" => $name, "status" => $status, "body" => $answer]) . "\n";
    if ($status !== 200) {
        exit(1);
    }
    return $answer;
}

$correlation_id = "php-" . bin2hex(random_bytes(6));
$placed = step("place", "POST", "$base/orders", $order + ["correlationId" => $correlation_id]);
step("read", "GET", "$base/orders/external/$correlation_id");
step("cancel", "DELETE", "$base/orders/{$placed['orderId']}");
