//! The store as its users see it. Stops and power cuts are in `tests/store_crash.rs`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use jiff::Timestamp;

use super::*;
use crate::domain::secret::ExposeSecret;
use crate::domain::{AccountName, Secret, SourceAddr};

fn key(digit: &str) -> MasterKey {
    MasterKey::from_hex(&digit.repeat(64)).unwrap()
}

fn open(path: &Path) -> Result<Store, StoreError> {
    Store::open(path, key("1"))
}

fn name(text: &str) -> AccountName {
    AccountName::parse(text).unwrap()
}

fn owner(of: &str) -> ClientIdRecord {
    ClientIdRecord { account: name(of) }
}

fn id(number: u32) -> crate::domain::ClientId {
    crate::domain::ClientId::parse(&number.to_string()).unwrap()
}

fn token(text: &str, generation: u64) -> TokenRecord {
    TokenRecord {
        access_token: Secret::from(text),
        expires_at: 7,
        source: "pin_totp".into(),
        generation,
        stored_at: Timestamp::UNIX_EPOCH,
    }
}

fn sequence(store: &Store) -> u64 {
    store.inner.shared.read().sequence()
}

/// Every file below a folder with its content.
fn files(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.insert(path.clone(), Vec::new());
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn copy_folder(from: &Path, to: &Path) {
    for (path, content) in files(from) {
        let at = to.join(path.strip_prefix(from).unwrap());
        if path.is_dir() {
            fs::create_dir_all(at).unwrap();
        } else {
            fs::create_dir_all(at.parent().unwrap()).unwrap();
            fs::write(at, content).unwrap();
        }
    }
}

/// A store that was closed with one owner per sequence number 1 to `count`, one export each.
fn made(path: &Path, count: u32) {
    for number in 1..=count {
        let store = open(path).unwrap();
        store.commit_blocking(Change::new().put(&id(number), &owner("alpha"))).unwrap();
        store.close();
    }
}

#[test]
fn what_was_committed_is_there_after_opening_again() {
    let dir = tempfile::tempdir().unwrap();
    let address = SourceAddr::parse("2001:db8::1").unwrap();
    let record = AddressRecord {
        account: name("alpha"),
        client_id: crate::domain::ClientId::parse("1000000001").unwrap(),
        role: crate::domain::Role::Primary,
        retired_at: None,
    };
    let store = open(dir.path()).unwrap();
    let change = Change::new().put(&address, &record).put(&name("alpha"), &token("first", 1));
    store.commit_blocking(change).unwrap();
    store.commit_blocking(Change::new().put(&name("beta"), &token("second", 2))).unwrap();
    store.commit_blocking(Change::new().delete::<TokenRecord>(&name("beta"))).unwrap();
    store.close();

    let store = open(dir.path()).unwrap();
    assert_eq!(store.get::<AddressRecord>(&address).unwrap().unwrap(), record);
    let back = store.get::<TokenRecord>(&name("alpha")).unwrap().unwrap();
    assert_eq!((back.access_token.expose_secret(), back.generation), ("first", 1));
    assert!(store.get::<TokenRecord>(&name("beta")).unwrap().is_none());
    assert_eq!((store.count::<TokenRecord>(), store.count::<AddressRecord>(), store.count::<PoolRecord>()), (1, 1, 0));
    assert!(store.restored().is_none());
}

/// Lists in the API page by the last key seen: none may be missed or come twice.
#[test]
fn pages_follow_one_another_in_the_order_of_keys_and_stay_in_their_tree() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let mut change = Change::new().put(&name("zz"), &token("x", 1));
    for number in 100..110 {
        change = change.put(&id(number), &owner("alpha"));
    }
    store.commit_blocking(change).unwrap();
    let mut seen = Vec::new();
    loop {
        let page = store.page::<ClientIdRecord>(seen.last(), 4).unwrap();
        if page.is_empty() {
            break;
        }
        seen.extend(page.into_iter().map(|(key, _)| key));
    }
    assert_eq!(seen, (100..110).map(id).collect::<Vec<_>>());
    assert_eq!(store.scan::<ClientIdRecord>().unwrap().len(), 10);
}

/// A client id or an address given to two accounts is the harm that guards prevent.
#[test]
fn a_guard_that_does_not_hold_stops_the_whole_change() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let alpha = name("alpha");
    store.commit_blocking(Change::new().put(&id(1), &owner("alpha")).put(&alpha, &token("a", 1))).unwrap();
    let refused = [
        Change::new().absent::<ClientIdRecord>(&id(1)),
        Change::new().present::<ClientIdRecord>(&id(2)),
        Change::new().unchanged(&id(1), &owner("beta")),
        Change::new().unchanged(&id(2), &owner("alpha")),
        Change::new().unchanged(&alpha, &token("a", 2)),
    ];
    for guarded in refused {
        let err =
            store.commit_blocking(guarded.put(&id(9), &owner("gamma")).delete::<TokenRecord>(&alpha)).unwrap_err();
        assert_eq!(err.code(), "conflict");
        assert!(store.get::<ClientIdRecord>(&id(9)).unwrap().is_none());
        assert!(store.get::<TokenRecord>(&alpha).unwrap().is_some());
    }
    // Secret values are sealed anew each time: the guard compares what was sealed.
    let holds = Change::new()
        .put(&id(9), &owner("gamma"))
        .absent::<ClientIdRecord>(&id(9))
        .present::<ClientIdRecord>(&id(1))
        .unchanged(&id(1), &owner("alpha"))
        .unchanged(&alpha, &token("a", 1));
    store.commit_blocking(holds).unwrap();
    assert!(store.get::<ClientIdRecord>(&id(9)).unwrap().is_some());
}

/// Two threads that both read generation 4 must not both write generation 5, nor in one group.
#[test]
fn compare_and_set_from_many_threads_loses_no_update() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let alpha = name("alpha");
    store.commit_blocking(Change::new().put(&alpha, &token("t", 0))).unwrap();
    let made: u64 = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut made = 0;
                    for _ in 0..50 {
                        let old = store.get::<TokenRecord>(&alpha).unwrap().unwrap();
                        let new = token("t", old.generation + 1);
                        match store.commit_blocking(Change::new().unchanged(&alpha, &old).put(&alpha, &new)) {
                            Ok(()) => made += 1,
                            Err(err) => assert_eq!(err.code(), "conflict"),
                        }
                    }
                    made
                })
            })
            .collect();
        workers.into_iter().map(|worker| worker.join().unwrap()).sum()
    });
    assert!(made >= 50);
    assert_eq!(store.get::<TokenRecord>(&alpha).unwrap().unwrap().generation, made);
}

/// A sync each would make 10,000 token renewals at 08:00 take minutes.
#[test]
fn changes_that_wait_together_are_written_with_one_sync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let queue = store.inner.queue.lock().unwrap().clone().unwrap();
    let commit = |number: u32| Box::pin(store.commit(Change::new().put(&id(number), &owner("alpha"))));
    let mut first = commit(1);
    let mut rest = futures_util::future::join_all((2..=100).map(commit));
    // While somebody reads, the writer cannot make the first change visible and go on.
    let reading = store.inner.shared.read();
    runtime.block_on(async { assert!(futures_util::poll!(&mut first).is_pending()) });
    while queue.capacity() < queue.max_capacity() {
        std::thread::yield_now();
    }
    runtime.block_on(async { assert!(futures_util::poll!(&mut rest).is_pending()) });
    drop(reading);
    let done = runtime.block_on(async { (first.await, rest.await) });
    assert!(done.0.is_ok() && done.1.iter().all(Result::is_ok));
    assert_eq!(store.count::<ClientIdRecord>(), 100);
    assert!(sequence(&store) <= 2, "{} syncs for 100 changes", sequence(&store));
}

/// Two processes on one folder would destroy it, and both would log the account in.
#[test]
fn a_second_open_is_refused_until_the_first_is_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(open(dir.path()).unwrap_err().code(), "in_use");
    store.close();
    assert_eq!(store.commit_blocking(Change::new().put(&id(1), &owner("a"))).unwrap_err().code(), "closed");
    assert_eq!(store.count::<ClientIdRecord>(), 0);
    open(dir.path()).unwrap();
}

/// A key file lost and made anew is a mistake that must stay harmless, even on damaged files.
#[test]
fn a_wrong_key_is_told_and_changes_nothing_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 2);
    for damage in [false, true] {
        if damage {
            fs::write(dir.path().join("sled/db"), vec![0xAA; 100_000]).unwrap();
        }
        for stamped in [true, false] {
            if !stamped {
                fs::remove_file(dir.path().join("stamp")).unwrap();
            }
            let before = files(dir.path());
            let err = Store::open(dir.path(), key("2")).unwrap_err();
            assert_eq!(err.code(), "wrong_key");
            assert!(err.to_string().contains("master_key_file"), "{err}");
            assert_eq!(files(dir.path()), before);
        }
        open(dir.path()).unwrap().close();
    }
}

/// A new store of damaged files must not be one without accounts.
#[test]
fn damaged_or_missing_files_are_put_aside_and_the_newest_export_loaded() {
    type Damage = fn(&Path);
    let damages: [Damage; 4] = [
        |sled| fs::write(sled.join("db"), vec![0xAA; 100_000]).unwrap(),
        |sled| {
            let mut bytes = fs::read(sled.join("db")).unwrap();
            bytes.iter_mut().skip(20).step_by(50).for_each(|byte| *byte ^= 0x55);
            fs::write(sled.join("db"), bytes).unwrap();
        },
        |sled| fs::write(sled.join("conf"), b"segment_size: nonsense\nxxxx").unwrap(),
        |sled| fs::remove_dir_all(sled).unwrap(),
    ];
    for (index, damage) in damages.into_iter().enumerate() {
        let dir = tempfile::tempdir().unwrap();
        made(dir.path(), 2);
        damage(&dir.path().join("sled"));
        let store = open(dir.path()).unwrap();
        let restored = store.restored().unwrap_or_else(|| panic!("damage {index} went unseen")).clone();
        assert_eq!(store.count::<ClientIdRecord>(), 2, "damage {index}: {restored:?}");
        assert!(restored.aside.is_some_and(|aside| aside.is_dir()));
        store.commit_blocking(Change::new().put(&id(3), &owner("alpha"))).unwrap();
        store.close();
        let store = open(dir.path()).unwrap();
        assert!(store.restored().is_none());
        assert_eq!(store.count::<ClientIdRecord>(), 3);
    }
}

#[test]
fn a_truncated_newest_export_falls_back_to_the_one_before() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 2);
    let newest = export::list(&dir.path().join("exports")).unwrap().remove(0).1;
    let whole = fs::read(&newest).unwrap();
    fs::write(&newest, &whole[..whole.len() - 1]).unwrap();
    fs::write(dir.path().join("sled/db"), vec![0xAA; 100_000]).unwrap();
    let store = open(dir.path()).unwrap();
    assert_ne!(store.restored().unwrap().from, newest);
    assert!(store.get::<ClientIdRecord>(&id(1)).unwrap().is_some());
    assert!(store.get::<ClientIdRecord>(&id(2)).unwrap().is_none());
}

/// What a person can still save must not be touched by a program that cannot.
#[test]
fn damage_without_a_good_export_is_an_error_and_renames_nothing() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 1);
    for (_, path) in export::list(&dir.path().join("exports")).unwrap() {
        fs::write(path, b"").unwrap();
    }
    fs::write(dir.path().join("sled/db"), vec![0xAA; 100_000]).unwrap();
    let err = open(dir.path()).unwrap_err();
    assert_eq!(err.code(), "corrupt");
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
}

/// sled takes damage at the end of its log for a stop while writing and goes on
/// without what stood there. The export knows better.
#[test]
fn an_engine_that_silently_forgot_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let old = tempfile::tempdir().unwrap();
    made(dir.path(), 1);
    copy_folder(&dir.path().join("sled"), old.path());
    made(dir.path(), 2);
    fs::remove_dir_all(dir.path().join("sled")).unwrap();
    copy_folder(old.path(), &dir.path().join("sled"));
    let store = open(dir.path()).unwrap();
    assert!(store.restored().unwrap().why.contains("gave back"));
    assert_eq!(store.count::<ClientIdRecord>(), 2);
}

/// Whoever can write the files must not be able to swap two accounts' secrets.
#[test]
fn values_swapped_on_disk_are_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let change = Change::new().put(&name("alpha"), &token("a", 1)).put(&name("beta"), &token("b", 1));
    store.commit_blocking(change).unwrap();
    store.close();
    let mut backend = Engine::Sled.open(&dir.path().join("sled")).unwrap();
    let mut sealed = Vec::new();
    backend.each(&mut |key, value| sealed.extend((key[0] == 8).then(|| (key.to_vec(), value.to_vec())))).unwrap();
    let swap = |from: usize, to: usize| (Arc::from(sealed[to].0.as_slice()), Some(sealed[from].1.clone()));
    backend.apply(&vec![swap(0, 1), swap(1, 0)]).unwrap();
    drop(backend);
    let store = open(dir.path()).unwrap();
    assert!(store.restored().unwrap().why.contains("do not open"), "{:?}", store.restored());
    let alpha = store.get::<TokenRecord>(&name("alpha")).unwrap().unwrap();
    assert_eq!(alpha.access_token.expose_secret(), "a");
}

/// Secrets in the clear on disk would make the key pointless.
#[test]
fn no_value_is_on_disk_in_the_clear() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let halted = PoolRecord {
        primary: "2001:db8:1::/64".parse().unwrap(),
        secondary: "2001:db8:2::/64".parse().unwrap(),
        created_at: Timestamp::UNIX_EPOCH,
    };
    let change = Change::new().put(&name("alpha"), &token("hunter2hunter2", 1)).put(&"main".to_owned(), &halted);
    assert!(!format!("{change:?} {store:?}").contains("hunter2"));
    store.commit_blocking(change).unwrap();
    store.close();
    for (path, content) in files(dir.path()) {
        for word in ["hunter2hunter2", "2001:db8:1", "pin_totp"] {
            let found = content.windows(word.len()).any(|window| window == word.as_bytes());
            assert!(!found, "{word} in {}", path.display());
        }
    }
    assert!(!store.inner.shared.snapshot().entries.iter().any(|(_, held)| held.windows(7).any(|w| w == b"hunter2")));
}

/// A stop between the two renames of a rebuild finds the store under its other name.
#[test]
fn a_rebuild_cut_short_is_finished() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 1);
    fs::rename(dir.path().join("sled"), dir.path().join("sled.rebuilt")).unwrap();
    let store = open(dir.path()).unwrap();
    assert!(store.restored().is_none());
    assert_eq!(store.count::<ClientIdRecord>(), 1);
}

/// An older program on newer files would read them wrongly, or call them damaged.
#[test]
fn files_of_a_newer_layout_are_refused_and_kept() {
    let dir = tempfile::tempdir().unwrap();
    made(dir.path(), 1);
    let sealer = Sealer::new(&key("1")).unwrap();
    let mut backend = Engine::Sled.open(&dir.path().join("sled")).unwrap();
    let newer = sealer.seal_record("meta", b"store", &[records::LAYOUT + 1]);
    backend.apply(&vec![(table::meta_key().into(), Some(newer)), ([99].as_slice().into(), Some(vec![1]))]).unwrap();
    drop(backend);
    assert_eq!(open(dir.path()).unwrap_err().code(), "newer");
    assert!(dir.path().join("sled/db").exists());
}

/// The refusal names what is too long; a record at the limit goes through sled and back.
#[test]
fn what_is_too_long_is_refused_before_it_is_queued() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let alpha = name("alpha");
    let long = Change::new().put(&alpha, &token(&"x".repeat(5000), 1));
    assert!(matches!(store.commit_blocking(long), Err(StoreError::TooLarge { tree: "tokens", .. })));
    let key = Change::new().delete::<PoolRecord>(&"x".repeat(255));
    assert_eq!(store.commit_blocking(key).unwrap_err().code(), "too_large");
    let mut many = Change::new();
    for number in 0..300 {
        many = many.put(&name(&format!("a{number}")), &token(&"x".repeat(3800), 1));
    }
    assert!(matches!(store.commit_blocking(many), Err(StoreError::TooLarge { tree: "change", .. })));
    let mut fits = Change::new();
    for number in 0..250 {
        fits = fits.put(&name(&format!("a{number}")), &token(&"x".repeat(3800), 1));
    }
    store.commit_blocking(fits).unwrap();
    store.close();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.scan::<TokenRecord>().unwrap().len(), 250);
    assert_eq!(fs::read_dir(dir.path().join("sled/blobs")).unwrap().count(), 0, "sled never syncs blobs");
}

/// At the priority of all else an export of many accounts makes orders on its core wait for the end of its slice.
#[test]
fn exports_are_made_on_cores_that_nobody_else_needs() {
    let dir = tempfile::tempdir().unwrap();
    let _store = open(dir.path()).unwrap();
    // proc(5), /proc/pid/stat: "(comm)", and the 41st field is the policy.
    let policy = |stat: String| {
        let (head, rest) = stat.rsplit_once(") ")?;
        head.ends_with("(store-export").then(|| rest.split(' ').nth(38)?.parse::<i32>().ok())?
    };
    let stats = || fs::read_dir("/proc/self/task").unwrap().flatten();
    let policies = || stats().filter_map(|task| policy(fs::read_to_string(task.path().join("stat")).ok()?));
    let until = std::time::Instant::now() + Duration::from_secs(20);
    // SCHED_IDLE, sched.h. Other tests' stores have such threads too, some of which just begin.
    while policies().any(|policy| policy != 5) || policies().count() == 0 {
        assert!(std::time::Instant::now() < until, "policies: {:?}", policies().collect::<Vec<_>>());
        std::thread::yield_now();
    }
}

/// Without an export after changes there is nothing to fall back to.
#[test]
fn an_export_follows_a_change_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { export_after: Duration::from_millis(20), ..Options::default() };
    let store = Store::open_with(dir.path(), key("1"), &options).unwrap();
    store.commit_blocking(Change::new().put(&id(1), &owner("alpha"))).unwrap();
    let until = std::time::Instant::now() + Duration::from_secs(20);
    let newest = || export::newest_good(&dir.path().join("exports"), store.sealer()).unwrap().unwrap().1.sequence;
    while newest() != sequence(&store) {
        assert!(std::time::Instant::now() < until, "no export came");
        std::thread::yield_now();
    }
}

/// A backup that nobody can load is none; one that overwrites a live store is worse.
#[test]
fn a_backup_makes_a_store_elsewhere_and_overwrites_none() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new, file) = (dir.path().join("old"), dir.path().join("new"), dir.path().join("backup"));
    let store = open(&old).unwrap();
    store.commit_blocking(Change::new().put(&name("alpha"), &token("first", 3))).unwrap();
    store.back_up(&file).unwrap();
    assert_eq!(Store::restore(&new, key("2"), &file).unwrap_err().code(), "wrong_key");
    assert!(!new.exists());
    let restored = Store::restore(&new, key("1"), &file).unwrap();
    let back = restored.get::<TokenRecord>(&name("alpha")).unwrap().unwrap();
    assert_eq!((back.access_token.expose_secret(), back.generation), ("first", 3));
    restored.close();
    assert_eq!(Store::restore(&new, key("1"), &file).unwrap_err().code(), "io");
    fs::write(&file, &fs::read(&file).unwrap()[..100]).unwrap();
    assert_eq!(Store::restore(&dir.path().join("x"), key("1"), &file).unwrap_err().code(), "corrupt");
}

/// The platform that this is for. Prints what it takes.
#[test]
fn ten_thousand_accounts_fit_and_come_back() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let begun = std::time::Instant::now();
    for block in 0..100_u32 {
        let mut change = Change::new();
        for number in block * 100..block * 100 + 100 {
            let account = name(&format!("account{number}"));
            change = change.put(&account, &token(&"x".repeat(400), 1)).put(&id(1_000_000 + number), &owner("alpha"));
            for (role, last) in [(crate::domain::Role::Primary, 0), (crate::domain::Role::Secondary, 1)] {
                let bits = (0x2001_0db8_u128 << 96) | (u128::from(number) << 8) | last;
                let address = SourceAddr::new(bits.into()).unwrap();
                change = change.put(
                    &address,
                    &AddressRecord {
                        account: account.clone(),
                        client_id: crate::domain::ClientId::parse("1000000001").unwrap(),
                        role,
                        retired_at: None,
                    },
                );
            }
        }
        store.commit_blocking(change).unwrap();
    }
    let resident = |word: &str| {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        status.lines().find(|line| line.starts_with(word)).unwrap().to_owned()
    };
    println!("written in {:?}, {}", begun.elapsed(), resident("VmRSS"));
    let begun = std::time::Instant::now();
    store.close();
    println!("closed in {:?}, {}", begun.elapsed(), resident("VmRSS"));
    drop(store);
    let begun = std::time::Instant::now();
    let store = open(dir.path()).unwrap();
    println!("opened in {:?}, {}", begun.elapsed(), resident("VmRSS"));
    assert_eq!(store.count::<AddressRecord>(), 20_000);
    assert!(store.restored().is_none());
}
