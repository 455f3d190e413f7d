//! Who gets which address, and that nobody gets another's.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::host::Own;
use crate::store::seal::MasterKey;

fn addressing(dir: &tempfile::TempDir) -> Addressing {
    let key = MasterKey::load_or_create(&dir.path().join("master.key")).unwrap();
    Addressing::new(Store::open(&dir.path().join("state"), key).unwrap(), false).unwrap()
}

fn account(n: usize) -> (AccountName, ClientId) {
    (AccountName::parse(&format!("a{n}")).unwrap(), ClientId::parse(&format!("{}", 1_000_000_000 + n)).unwrap())
}

fn pair(primary: &str, secondary: &str) -> Pair {
    Pair { primary: SourceAddr::parse(primary).unwrap(), secondary: SourceAddr::parse(secondary).unwrap() }
}

fn block<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn make_pool(addressing: &Addressing, name: &str, primary: Ipv6Net, secondary: Ipv6Net) -> Result<(), AddressingError> {
    block(addressing.create_pool(name, primary, secondary))
}

/// Write the pair down as `account`'s, or as its tombstone.
fn write(addressing: &Addressing, pair: Pair, account: &(AccountName, ClientId), retired: bool) {
    use crate::domain::Role;
    let retired_at = retired.then(jiff::Timestamp::now);
    let change = [(Role::Primary, pair.primary), (Role::Secondary, pair.secondary)].into_iter().fold(
        crate::store::Change::new(),
        |change, (role, address)| {
            let (name, id) = account.clone();
            change.put(&address, &AddressRecord { account: name, client_id: id, role, retired_at })
        },
    );
    addressing.store.commit_blocking(change).unwrap();
    addressing.refresh_holders(pair);
}

/// Reserve, write down and end the reservation.
fn keep(addressing: &Addressing, reserved: Reservation, account: &(AccountName, ClientId)) {
    write(addressing, reserved.pair(), account, false);
}

#[test]
fn a_pair_brought_along_is_not_given_again_by_the_pool() {
    let dir = tempfile::tempdir().unwrap();
    let addressing = addressing(&dir);
    make_pool(&addressing, "main", "2001:db8:a1::/126".parse().unwrap(), "2001:db8:a2::/126".parse().unwrap()).unwrap();
    let (name, id) = account(1);
    // Crosswise: the primary is index 1 and the secondary index 2, so only index 3 is left.
    let given = addressing.reserve_given(pair("2001:db8:a1::1", "2001:db8:a2::2"), &name, &id).unwrap();
    keep(&addressing, given, &(name, id));
    let last = addressing.reserve_next(Some("main")).unwrap();
    assert_eq!(last.pair(), pair("2001:db8:a1::3", "2001:db8:a2::3"));
    let err = addressing.reserve_next(Some("main")).unwrap_err();
    let said = err.to_string();
    assert!(matches!(err, AddressingError::Exhausted { .. }), "{said}");
    assert!(said.contains("pairs: 3; 2 held by accounts, 1 set aside for ten minutes"), "{said}");
    drop(last);
    assert_eq!(addressing.reserve_next(None).unwrap().pair().primary.to_string(), "2001:db8:a1::3");
}

/// The broker refuses an address it has seen from another customer.
#[test]
fn a_retired_address_goes_back_to_its_customer_and_to_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    let addressing = addressing(&dir);
    let (name, id) = account(1);
    let own = pair("2001:db8:a1::1", "2001:db8:a2::1");
    let mine = (name.clone(), id.clone());
    keep(&addressing, addressing.reserve_given(own, &name, &id).unwrap(), &mine);
    write(&addressing, own, &mine, true);

    let (other, other_id) = account(2);
    assert!(matches!(addressing.reserve_given(own, &other, &other_id), Err(AddressingError::Taken { .. })));
    // The same name in another customer's hands is somebody else.
    assert!(matches!(addressing.reserve_given(own, &name, &other_id), Err(AddressingError::Taken { .. })));
    keep(&addressing, addressing.reserve_given(own, &name, &id).unwrap(), &mine);
    assert!(matches!(addressing.reserve_given(own, &name, &id), Err(AddressingError::Taken { .. })));
}

#[test]
fn pools_do_not_overlap_and_are_deleted_only_when_empty() {
    let dir = tempfile::tempdir().unwrap();
    let addressing = addressing(&dir);
    let net = |text: &str| text.parse().unwrap();
    make_pool(&addressing, "main", net("2001:db8:a1::/64"), net("2001:db8:a2::/64")).unwrap();
    let again = make_pool(&addressing, "main", net("2001:db8:b1::/64"), net("2001:db8:b2::/64"));
    assert!(matches!(again, Err(AddressingError::PoolExists(_))));
    let over = make_pool(&addressing, "more", net("2001:db8:a2::/96"), net("2001:db8:b2::/64"));
    assert!(matches!(over, Err(AddressingError::Overlap { .. })));
    let reserved = addressing.reserve_next(None).unwrap();
    let own = reserved.pair();
    keep(&addressing, reserved, &account(1));
    assert!(matches!(block(addressing.delete_pool("main")), Err(AddressingError::NotEmpty { pairs: 1, .. })));
    write(&addressing, own, &account(1), true);
    block(addressing.delete_pool("main")).unwrap();
    assert!(matches!(addressing.reserve_next(None), Err(AddressingError::NoPool)));
}

/// What a router answers for never reaches an account; what this host uses itself is given only by hand.
#[test]
fn what_is_a_routers_or_the_hosts_own_is_not_given() {
    let dir = tempfile::tempdir().unwrap();
    let addressing = addressing(&dir);
    let (name, id) = account(1);
    make_pool(&addressing, "main", "2001:db8:a1::/126".parse().unwrap(), "2001:db8:a2::/126".parse().unwrap()).unwrap();
    addressing.around.is(Own::made(&["2001:db8:a1::2/64", "2001:db8:a3::9/64"], &["2001:db8:a1::1"]));
    // The first is a router's.
    let given = addressing.reserve_next(None).unwrap();
    assert_eq!(given.pair(), pair("2001:db8:a1::2", "2001:db8:a2::2"));
    drop(given);
    for (primary, says) in [("2001:db8:a1::1", "the address of a router"), ("2001:db8:a3::", "any router of")] {
        let err = addressing.reserve_given(pair(primary, "2001:db8:b2::1"), &name, &id).unwrap_err();
        assert!(matches!(err, AddressingError::Invalid { field: "primary", .. }), "{err}");
        assert!(err.to_string().contains(says), "{err}");
    }
    // Brought along, as on a machine that has but this one.
    let own = addressing.reserve_given(pair("2001:db8:a1::2", "2001:db8:a2::2"), &name, &id).unwrap();
    keep(&addressing, own, &(name, id));
    addressing.listeners_are_at(["2001:db8:a1::3".parse().unwrap()]);
    addressing.around.is(Own::made(&[], &["2001:db8:a1::1", "2001:db8:a1::3"]));
    let err = addressing.reserve_next(Some("main")).unwrap_err().to_string();
    assert!(err.contains("pairs: 3; 1 held by accounts, 2001:db8:a1::1 is the address of a router"), "{err}");
}

/// It would be found out by the first account that asks.
#[test]
fn a_pool_that_could_give_nothing_is_refused_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let addressing = addressing(&dir);
    let make = |name: &str, primary: &str, secondary: &str| {
        make_pool(&addressing, name, primary.parse().unwrap(), secondary.parse().unwrap())
    };
    let err = make("small", "2001:db8:a1::/126", "2001:db8:a2::5/128").unwrap_err();
    assert!(matches!(err, AddressingError::NoRoom { .. }) && err.to_string().contains("the same length"), "{err}");
    let mine = account(1);
    let own = pair("2001:db8:a1::5", "2001:db8:a2::5");
    keep(&addressing, addressing.reserve_given(own, &mine.0, &mine.1).unwrap(), &mine);
    let err = make("held", "2001:db8:a1::5/128", "2001:db8:a2::5/128").unwrap_err().to_string();
    assert!(err.contains("1 held by accounts"), "{err}");
    write(&addressing, own, &mine, true);
    let err = make("retired", "2001:db8:a1::5/128", "2001:db8:a2::5/128").unwrap_err().to_string();
    assert!(err.contains("1 an account's before"), "{err}");
    make("good", "2001:db8:a1::6/128", "2001:db8:a2::6/128").unwrap();
}

#[derive(Debug, Clone)]
enum Step {
    Next,
    Given(u16, u16),
    Abandon,
    Retire(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => Just(Step::Next),
        3 => (0..300u16, 0..300u16).prop_map(|(a, b)| Step::Given(a, b)),
        1 => Just(Step::Abandon),
        2 => (0..400usize).prop_map(Step::Retire),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Two accounts on one address would trade as one another.
    #[test]
    fn no_address_is_ever_assigned_twice(steps in prop::collection::vec(step(), 1..400)) {
        let dir = tempfile::tempdir().unwrap();
        let addressing = addressing(&dir);
        make_pool(&addressing, "main", "2001:db8:a1::/120".parse().unwrap(), "2001:db8:a2::/120".parse().unwrap()).unwrap();
        let mut ever: HashSet<SourceAddr> = HashSet::new();
        let mut held: Vec<((AccountName, ClientId), Pair)> = Vec::new();
        for (n, step) in steps.into_iter().enumerate() {
            let (name, id) = account(n);
            let reserved = match step {
                Step::Next => addressing.reserve_next(None),
                Step::Given(a, b) => {
                    let given = pair(&format!("2001:db8:a1::{a:x}"), &format!("2001:db8:a2::{b:x}"));
                    addressing.reserve_given(given, &name, &id)
                }
                Step::Abandon => {
                    drop(addressing.reserve_next(None));
                    continue;
                }
                Step::Retire(nth) => {
                    if nth < held.len() {
                        let (mine, pair) = held.swap_remove(nth);
                        write(&addressing, pair, &mine, true);
                    }
                    continue;
                }
            };
            if let Ok(reserved) = reserved {
                let pair = reserved.pair();
                held.push(((name.clone(), id.clone()), pair));
                keep(&addressing, reserved, &(name, id));
                prop_assert!(ever.insert(pair.primary), "{} twice", pair.primary);
                prop_assert!(ever.insert(pair.secondary), "{} twice", pair.secondary);
            }
        }
    }
}
