//! Records that came to format 1 after its first release, and rules of what they index.

use super::*;
use crate::domain::answer::{KEPT, KEPT_MS, KeptAnswer, RequestKey};

fn described() -> Model {
    Model {
        id: ModelId(1090),
        name: Name::parse("n", "letters").unwrap(),
        description: Description::parse("what is written\non the envelope").unwrap(),
        all_images: DatasetId(1091),
        ..model()
    }
}

/// What came to the format later: records of versions that the first release did not write.
fn write_later_ones(tx: &mut Tx<'_>) -> Result<()> {
    models::put(tx, &described())?;
    answers::put(tx, &short())
}

fn kept() -> KeptAnswer {
    KeptAnswer {
        key: RequestKey { account: AccountId(1070), hash: [3; 16] },
        request: [4; 16],
        at: Timestamp(1_700_000_000_000),
        status: 201,
        location: Some("/api/v1/models/letters".to_owned()),
        etag: Some("\"1\"".to_owned()),
        body: Some(vec![b'x'; 3001]),
    }
}

/// An answer of one piece.
fn short() -> KeptAnswer {
    KeptAnswer { body: Some(b"{}".to_vec()), ..kept() }
}

const LATER: &str = "tests/data/format1/later.txt";

#[test]
fn later_records_are_written_and_read_as_they_were_released() {
    let (_folder, store) = scratch();
    store.write(write_later_ones).wait().unwrap();
    let written = dump(&store);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(LATER, &written).unwrap();
    }
    assert_eq!(written, std::fs::read_to_string(LATER).unwrap());
    let (_folder, store) = scratch();
    load(&store, &written);
    assert_eq!(models::named(&store, Actor::LOCAL.project, &described().name).unwrap(), described());
    assert_eq!(answers::get(&store, short().key, short().at).unwrap(), Some(short()));
}

#[test]
fn kept_answers_make_room_by_age_and_by_number() {
    let (_folder, store) = scratch();
    let answer = |number: usize, at: usize| KeptAnswer {
        key: RequestKey { account: AccountId(1070), hash: (number as u128).to_be_bytes() },
        at: Timestamp(at as u64),
        ..kept()
    };
    let keep = |answer: KeptAnswer| store.write(move |tx| answers::put(tx, &answer)).wait().unwrap();
    let knows =
        |number: usize, at: usize| answers::get(&store, answer(number, 0).key, Timestamp(at as u64)).unwrap().is_some();
    (0..KEPT + 3).for_each(|number| keep(answer(number, 1000 + number)));
    assert_eq!(answers::get(&store, answer(9, 0).key, Timestamp(2000)).unwrap(), Some(answer(9, 1009)));
    assert_eq!((knows(2, 2000), knows(3, 2000), knows(KEPT + 2, 2000)), (false, true, true));
    let day = KEPT_MS as usize;
    assert_eq!((knows(3, 1002 + day), knows(3, 1003 + day)), (true, false));
    let late = Timestamp(3000 + KEPT_MS);
    while store.settle(move |tx| answers::expire(tx, late)).wait().unwrap() {}
    let left: Vec<_> = store.range(vec![key::ANSWER], vec![key::ANSWER_BODY + 1]).collect();
    assert!(left.is_empty(), "{} keys", left.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn labels_are_counted_as_they_come_and_go(
        changes in proptest::collection::vec((0usize..3, 0u8..4, any::<bool>(), any::<bool>()), 1..40),
    ) {
        let (_folder, store) = scratch();
        let mut current = Dataset { base: None, ..dataset(2000, Some("d0")) };
        let mut versions = vec![];
        for (label, name, comes, copies) in changes {
            let label = [None, Some("a"), Some("b")][label];
            let wanted = entry(label, &format!("{name}.png"), name);
            let mut next = current.clone();
            let write = store.write(move |tx| {
                if copies {
                    datasets::put(tx, &next)?;
                    let id = next.id.0 + 1;
                    next = Dataset { base: Some(next.head_version()), head: VersionNumber(0), ..next };
                    next.id = DatasetId(id);
                    next.name = Some(Name::parse("n", &format!("d{id}"))?);
                }
                let there = manifests::removal(tx, &next, wanted.label.as_ref(), &wanted.name)?;
                match there {
                    None if comes => manifests::append(tx, &mut next, &wanted)?,
                    Some(there) if !comes => manifests::remove(tx, &mut next, &there)?,
                    _ => {}
                }
                datasets::put(tx, &next)?;
                Ok(next)
            });
            current = write.wait().unwrap();
            versions.push(current.clone());
        }
        for state in versions {
            let mut wanted = std::collections::BTreeMap::<Option<Label>, u64>::new();
            for entry in store.page(state.head_version(), None, 1000).unwrap().entries {
                *wanted.entry(entry.label).or_default() += 1;
            }
            prop_assert!(balance::is_counted(&store, &state).unwrap());
            let (counts, _) = balance::page(&store, state.head_version(), None, 100).unwrap();
            prop_assert_eq!(counts, wanted.into_iter().collect::<Vec<_>>());
            let (listed, _) = listing::page(&store, state.head_version(), &listing::Wanted::All, None, 100).unwrap();
            prop_assert_eq!(listed.len() as u64, state.images);
        }
    }
}
