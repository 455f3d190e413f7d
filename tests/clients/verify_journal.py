import glob, hashlib, json, sys
folder, nothing = sys.argv[1], "0" * 64
try:
    end = open(folder + "/.head").read().split()[1]  # before the lines: a gateway that runs only adds some
except (OSError, IndexError):
    sys.exit(f"{folder}: no .head, so this is no journal, or nobody can tell whether its end is there")
first, prev, ended, deleted = nothing, None, end == nothing, {nothing}
for name in sorted(glob.glob(folder + "/????-??-??.jsonl")):
    for number, line in enumerate(open(name, "rb"), 1):
        entry, body = json.loads(line), line.split(b',"hash"')[0]
        if hashlib.sha256(body).hexdigest() != entry["hash"]:
            sys.exit(f"{name}:{number}: changed")
        if prev is None:
            first = entry["prev"]
        elif prev != entry["prev"]:
            sys.exit(f"{name}:{number}: does not follow the line before")
        prev = entry["hash"]
        ended = ended or prev == end
        if (entry.get("note") or {}).get("what") == "deleted":  # files that were older than journal.keep
            deleted.add(entry["note"]["last_hash"])
if first not in deleted:
    sys.exit(f"{folder}: the first lines are missing, and no note says that they were deleted for their age")
if not ended:
    sys.exit(f"{folder}: the last lines are missing; .head says that there were more")
print("good", prev)
