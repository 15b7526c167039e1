//! The database against a model: random histories over the store on disk, reopened; watches, pages, failures.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::store::memory::MemoryStore;
use crate::store::sled::SledStore;
use crate::store::{Batch, Loaded, StoreError};

const RESOURCES: [&str; 2] = ["rbee.dev/models", "secrets"];

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn on_disk(folder: &Path) -> SledStore {
    SledStore::open(folder.join("store"), folder.join("export")).unwrap()
}

fn key(resource: u8, name: u8) -> Key {
    let namespace = if name.is_multiple_of(2) { "even" } else { "odd" };
    Key::new(RESOURCES[resource as usize % 2], namespace, format!("n{name}"))
}

fn body(value: u8) -> Value {
    json!({"metadata": {"resourceVersion": "999"}, "value": value})
}

#[derive(Debug, Clone)]
enum Step {
    Create(u8, u8, u8),
    Update(u8, u8, u8),
    Stale(u8, u8),
    Upsert(u8, u8, u8),
    Delete(u8, u8),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let (r, n) = (0..2u8, 0..6u8);
    prop_oneof![
        4 => (r.clone(), n.clone(), any::<u8>()).prop_map(|(r, n, v)| Step::Create(r, n, v)),
        4 => (r.clone(), n.clone(), any::<u8>()).prop_map(|(r, n, v)| Step::Update(r, n, v)),
        1 => (r.clone(), n.clone()).prop_map(|(r, n)| Step::Stale(r, n)),
        2 => (r.clone(), n.clone(), any::<u8>()).prop_map(|(r, n, v)| Step::Upsert(r, n, v)),
        3 => (r, n).prop_map(|(r, n)| Step::Delete(r, n)),
        1 => Just(Step::Reopen),
    ]
}

/// Revision and value of each object.
type Model = BTreeMap<Key, (u64, u8)>;

fn seen(db: &Db) -> Model {
    let items = RESOURCES.into_iter().flat_map(|resource| db.list(resource, None).items);
    items.map(|object| (object.key().clone(), (object.revision(), value_of(&object)))).collect()
}

fn value_of(object: &Object) -> u8 {
    assert_eq!(object.value()["metadata"]["resourceVersion"], object.revision().to_string());
    object.value()["value"].as_u64().unwrap().try_into().unwrap()
}

async fn play(db: &Db, model: &Model, step: &Step) -> Option<(Key, u64, Option<u8>)> {
    let (key, expect, change, value) = match *step {
        Step::Create(r, n, v) => (key(r, n), Expect::Absent, Change::Put(body(v)), Some(v)),
        Step::Upsert(r, n, v) => (key(r, n), Expect::Any, Change::Put(body(v)), Some(v)),
        Step::Update(r, n, v) => {
            let expect = Expect::Revision(model.get(&key(r, n)).map_or(1, |(revision, _)| *revision));
            (key(r, n), expect, Change::Put(body(v)), Some(v))
        }
        Step::Stale(r, n) => (key(r, n), Expect::Revision(u64::MAX), Change::Put(body(0)), Some(0)),
        Step::Delete(r, n) => (key(r, n), Expect::Any, Change::Delete, None),
        Step::Reopen => return None,
    };
    let current = model.get(&key);
    match (db.write(key.clone(), expect, change).await, current) {
        (Ok(written), _) => {
            assert_eq!(written.object.revision(), written.revision);
            assert!(!(expect == Expect::Absent && current.is_some()), "created over {current:?}");
            assert!(!matches!(step, Step::Stale(..)), "a stale write was taken");
            Some((key, written.revision, value))
        }
        (Err(WriteError::AlreadyExists), Some(_)) => {
            assert_eq!(expect, Expect::Absent);
            None
        }
        (Err(WriteError::NotFound), None) => None,
        (Err(WriteError::Conflict { current: shown }), Some((revision, _))) => {
            assert_eq!(shown.revision(), *revision);
            None
        }
        (Err(error), current) => panic!("{step:?} over {current:?}: {error}"),
    }
}

/// Plays the events after `from` over an old list.
fn follow(db: &Db, from: u64, mut model: Model) -> Result<Model, ReadError> {
    for resource in RESOURCES {
        let mut watch = db.watch(resource, None, Some(from))?;
        let mut last = from;
        while let Some(event) = watch.try_next().unwrap() {
            assert!(event.revision > last, "event {} after {last}", event.revision);
            last = event.revision;
            let key = event.object.key().clone();
            let before = model.get(&key).copied();
            assert_eq!(event.previous.as_ref().map(|object| (object.revision(), value_of(object))), before);
            assert_eq!(event.kind == EventKind::Added, before.is_none());
            let after = (event.revision, value_of(&event.object));
            match event.kind {
                EventKind::Deleted => model.remove(&key),
                EventKind::Added | EventKind::Modified => model.insert(key, after),
            };
        }
        assert_eq!(watch.progress(), db.revision());
    }
    Ok(model)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Acknowledged writes are there, over restarts too, and an old list plus the events since is the list of today.
    #[test]
    fn random_histories_survive_and_replay(steps in prop::collection::vec(step(), 1..80), events in 1usize..40) {
        let folder = tempfile::tempdir().unwrap();
        block_on(async {
            let limits = Limits { events, bytes: usize::MAX };
            let mut db = Db::open_with(on_disk(folder.path()), limits).await.unwrap();
            let mut model = Model::new();
            let mut past = vec![(0, Model::new())];
            for step in &steps {
                if matches!(step, Step::Reopen) {
                    db.close().await;
                    db = Db::open_with(on_disk(folder.path()), limits).await.unwrap();
                }
                if let Some((key, revision, value)) = play(&db, &model, step).await {
                    assert_eq!(revision, past.last().unwrap().0 + 1);
                    match value {
                        Some(value) => model.insert(key, (revision, value)),
                        None => model.remove(&key),
                    };
                    past.push((revision, model.clone()));
                }
                assert_eq!(db.revision(), past.last().unwrap().0);
                assert_eq!(seen(&db), model);
            }
            db.close().await;
            let db = Db::open_with(on_disk(folder.path()), limits).await.unwrap();
            let newest = db.revision();
            for (revision, old) in past {
                match follow(&db, revision, old) {
                    Ok(replayed) => assert_eq!(replayed, model),
                    Err(ReadError::Gone(_)) => assert!(newest - revision > events as u64, "{revision} of {newest} is gone"),
                    Err(error) => panic!("{error}"),
                }
            }
            db.close().await;
        });
    }
}

async fn put(db: &Db, key: Key, value: u8) -> Written {
    db.write(key, Expect::Any, Change::Put(body(value))).await.unwrap()
}

#[test]
fn a_deletion_takes_a_revision_and_shows_the_last_content() {
    block_on(async {
        let db = Db::open(MemoryStore).await.unwrap();
        let mut watch = db.watch(RESOURCES[0], Some("even"), None).unwrap();
        put(&db, key(0, 2), 7).await;
        put(&db, key(0, 1), 8).await;
        let deleted = db.write(key(0, 2), Expect::Revision(1), Change::Delete).await.unwrap();
        assert_eq!((deleted.revision, db.revision()), (3, 3));
        assert_eq!(watch.next().await.unwrap().kind, EventKind::Added);
        let event = watch.next().await.unwrap();
        assert_eq!((event.kind, event.revision, value_of(&event.object)), (EventKind::Deleted, 3, 7));
        assert_eq!(event.previous.as_ref().unwrap().revision(), 1);
        assert!(db.get(&key(0, 2)).is_none());
    });
}

#[test]
fn concurrent_writers_get_a_revision_each_and_one_of_two_creates() {
    block_on(async {
        let db = Db::open(MemoryStore).await.unwrap();
        let mut watch = db.watch(RESOURCES[0], None, None).unwrap();
        let writes = (0..400u32).map(|n| {
            let key = Key::new(RESOURCES[0], "d", format!("n{}", n / 2));
            db.write(key, Expect::Absent, Change::Put(body(1)))
        });
        let results = futures::future::join_all(writes).await;
        let mut revisions: Vec<u64> = results.into_iter().filter_map(|r| r.ok().map(|w| w.revision)).collect();
        revisions.sort_unstable();
        assert_eq!(revisions, (1..=200).collect::<Vec<_>>());
        for revision in 1..=200 {
            assert_eq!(watch.next().await.unwrap().revision, revision);
        }
    });
}

#[test]
fn a_watcher_that_does_not_read_is_cut_and_holds_nobody_up() {
    block_on(async {
        let limits = Limits { events: 10, bytes: usize::MAX };
        let db = Db::open_with(MemoryStore, limits).await.unwrap();
        let mut slow = db.watch(RESOURCES[0], None, None).unwrap();
        let mut quiet = db.watch(RESOURCES[1], None, None).unwrap();
        for value in 0..50 {
            put(&db, key(0, 1), value).await;
        }
        assert_eq!(slow.next().await.unwrap_err(), WatchEnd::Gone(Gone { oldest: 40 }));
        assert!(quiet.try_next().unwrap().is_none(), "other resources' events do not cut a quiet watch");
        assert_eq!(quiet.progress(), 50);
        assert_eq!(db.watch(RESOURCES[0], None, Some(39)).unwrap_err(), Gone { oldest: 40 });
        let mut ahead = db.watch(RESOURCES[0], None, Some(51)).unwrap();
        put(&db, key(0, 1), 51).await;
        assert!(ahead.try_next().unwrap().is_none());
        put(&db, key(0, 1), 52).await;
        assert_eq!(ahead.next().await.unwrap().revision, 52);
        assert!(db.watch(RESOURCES[0], None, Some(42)).is_ok());
    });
}

#[test]
fn history_is_bounded_in_bytes_too() {
    block_on(async {
        let db = Db::open_with(MemoryStore, Limits { events: 1000, bytes: 10_000 }).await.unwrap();
        for _ in 0..20 {
            let value = json!({"text": "x".repeat(3000)});
            db.write(key(0, 1), Expect::Any, Change::Put(value)).await.unwrap();
        }
        assert!(db.watch(RESOURCES[0], None, Some(16)).is_err());
        assert!(db.watch(RESOURCES[0], None, Some(18)).is_ok());
    });
}

#[test]
fn all_pages_of_a_list_show_its_first_revision() {
    block_on(async {
        let db = Db::open_with(MemoryStore, Limits { events: 10, bytes: usize::MAX }).await.unwrap();
        for name in 0..9 {
            put(&db, Key::new(RESOURCES[0], "d", format!("n{name}")), name).await;
        }
        let mut query = ListQuery { resource: RESOURCES[0], namespace: Some("d"), limit: 4, cursor: None };
        let mut names = Vec::new();
        loop {
            let page = db.list_page(&query, &|object| object.key().name() != "n3").unwrap();
            assert_eq!(page.revision, 9);
            names.extend(page.items.iter().map(|object| object.key().name().to_string()));
            assert_eq!(names.len() + page.remaining, 8);
            db.write(Key::new(RESOURCES[0], "d", "n7"), Expect::Any, Change::Put(body(0))).await.unwrap();
            db.write(Key::new(RESOURCES[0], "d", "n8"), Expect::Any, Change::Delete).await.ok();
            let Some(next) = page.next else { break };
            query.cursor = Some(Cursor::decode(&next.encode()).unwrap());
        }
        assert_eq!(names, ["n0", "n1", "n2", "n4", "n5", "n6", "n7", "n8"]);
        let old = Cursor { revision: 3, namespace: "d".into(), name: "n0".into() };
        query.cursor = Some(old);
        assert!(matches!(db.list_page(&query, &|_| true), Err(ReadError::Gone(_))));
        assert_eq!(Cursor::decode("no token"), None);
    });
}

/// Fails at the commit with this number.
struct Failing(u32);

impl Store for Failing {
    fn load(&mut self) -> Result<Loaded, StoreError> {
        Ok(Loaded::default())
    }

    fn commit(&mut self, _: Batch<'_>) -> Result<(), StoreError> {
        self.0 -= 1;
        let source = std::io::Error::other("no sync");
        if self.0 == 0 { Err(StoreError::Io { action: "sync", path: "x".into(), source }) } else { Ok(()) }
    }
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_or_shown() {
    block_on(async {
        let db = Db::open(Failing(2)).await.unwrap();
        let mut watch = db.watch(RESOURCES[0], None, None).unwrap();
        put(&db, key(0, 1), 1).await;
        for _ in 0..3 {
            let refused = db.write(key(0, 3), Expect::Any, Change::Put(body(1))).await;
            assert!(matches!(refused, Err(WriteError::Storage(_))), "{refused:?}");
        }
        assert_eq!((db.revision(), db.list(RESOURCES[0], None).items.len()), (1, 1));
        assert_eq!(watch.try_next().unwrap().unwrap().revision, 1);
        assert!(watch.try_next().unwrap().is_none());
        let reason: Arc<str> = db.failed().await;
        assert!(reason.contains("no sync"), "{reason}");
    });
}

#[test]
fn closing_ends_watches_and_refuses_writes() {
    block_on(async {
        let db = Db::open(MemoryStore).await.unwrap();
        let mut watch = db.watch(RESOURCES[0], None, None).unwrap();
        put(&db, key(0, 1), 1).await;
        db.close().await;
        assert_eq!(watch.next().await.unwrap().revision, 1);
        assert_eq!(watch.next().await.unwrap_err(), WatchEnd::Closed);
        let refused = db.write(key(0, 1), Expect::Any, Change::Delete).await;
        assert!(matches!(refused, Err(WriteError::Storage(_))));
        assert_eq!(db.watch(RESOURCES[0], None, None).unwrap().next().await.unwrap_err(), WatchEnd::Closed);
    });
}
