import glob, hashlib, json, sys
prev = None  # of the line before; the first line may follow files that were deleted for their age
for name in sorted(glob.glob(sys.argv[1] + "/????-??-??.jsonl")):
    for number, line in enumerate(open(name, "rb"), 1):
        entry, body = json.loads(line), line.split(b',"hash"')[0]
        if hashlib.sha256(body).hexdigest() != entry["hash"]:
            sys.exit(f"{name}:{number}: changed")
        if prev not in (None, entry["prev"]):
            sys.exit(f"{name}:{number}: does not follow the line before")
        prev = entry["hash"]
print("good", prev)
