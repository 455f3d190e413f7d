"""Checks evidence that Sixgate made: python3 verify_journal.py [FOLDER]. Needs nothing but Python 3."""
import hashlib, json, os, sys

folder = sys.argv[1] if len(sys.argv) > 1 else os.path.dirname(os.path.abspath(__file__))


def wrong(what):
    sys.exit("NOT GOOD: " + what)


def read(name):
    try:
        with open(os.path.join(folder, name), "rb") as file:
            return file.read()
    except OSError as err:
        wrong(f"{name} cannot be read ({err.strerror}): the archive is not whole")


sums = dict(reversed(line.split("  ", 1)) for line in read("SHA256SUMS").decode().splitlines())
for name, digest in sums.items():
    if hashlib.sha256(read(name)).hexdigest() != digest:
        wrong(f"{name} was changed")
manifest = json.loads(read("manifest.json"))
heads = {head["seq"]: head["hash"] for head in manifest["day_heads"] + [manifest["newest"]]}
before, count = None, 0
for name in sorted(name for name in sums if name.startswith("lines-")):
    for number, line in enumerate(read(name).splitlines(), 1):
        place, entry = f"{name}, line {number}", json.loads(line)
        if hashlib.sha256(line.split(b',"hash"')[0]).hexdigest() != entry["hash"]:
            wrong(f"{place} was changed")
        if entry["account"] != manifest["account"]:
            wrong(f"{place} is of another account")
        if before and entry["seq"] <= before["seq"]:
            wrong(f"{place} does not come after the line before")
        if before and entry["seq"] == before["seq"] + 1 and entry["prev"] != before["hash"]:
            wrong(f"{place} does not follow the line before")
        if heads.get(entry["seq"], entry["hash"]) != entry["hash"]:
            wrong(f"{place} is not the line that the journal had with this number")
        before, count = entry, count + 1
last = before and {"seq": before["seq"], "hash": before["hash"]}
if (count, last) != (manifest["lines"], manifest["last"]):
    wrong(f"{manifest['lines']} lines were exported, and here are {count}, or others")
if manifest["unreadable"]:
    wrong(f"{manifest['unreadable']} lines of the journal could not be read: type sixgate journal verify on its host")
print(f"good: {count} lines of {manifest['account']}, newest line of the journal {manifest['newest']['seq']}")
