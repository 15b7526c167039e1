//! Lists as they were: the present, with everything undone that happened since.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::db::{Cursor, Db, Event, Key, ListQuery, Object, Page, ReadError, WatchEnd};

/// The page of a list at an exact revision, as far back as the watch history goes.
pub fn page(db: &Db, query: &ListQuery<'_>, at: u64, filter: &dyn Fn(&Object) -> bool) -> Result<Page, ReadError> {
    let mut stream = db.watch(query.resource, query.namespace, Some(at))?;
    let present = db.list(query.resource, query.namespace);
    let mut events = Vec::new();
    loop {
        match stream.try_next() {
            Ok(Some(event)) if event.revision <= present.revision => events.push(event),
            Ok(_) | Err(WatchEnd::Closed) => break,
            Err(WatchEnd::Gone(gone)) => return Err(gone.into()),
        }
    }
    Ok(cut(undo(present.items, &events), query, at, filter))
}

/// The objects before `events`, which are in order.
fn undo(present: Vec<Arc<Object>>, events: &[Arc<Event>]) -> Vec<Arc<Object>> {
    let mut objects: BTreeMap<Key, Arc<Object>> = present.into_iter().map(|o| (o.key().clone(), o)).collect();
    for event in events.iter().rev() {
        match &event.previous {
            Some(previous) => objects.insert(previous.key().clone(), previous.clone()),
            None => objects.remove(event.object.key()),
        };
    }
    objects.into_values().collect()
}

fn cut(objects: Vec<Arc<Object>>, query: &ListQuery<'_>, at: u64, filter: &dyn Fn(&Object) -> bool) -> Page {
    let behind = |o: &Arc<Object>| {
        let Some(cursor) = &query.cursor else { return true };
        (o.key().namespace(), o.key().name()) > (cursor.namespace.as_str(), cursor.name.as_str())
    };
    let mut rest = objects.into_iter().filter(behind).filter(|o| filter(o));
    let limit = if query.limit == 0 { usize::MAX } else { query.limit };
    let items: Vec<Arc<Object>> = rest.by_ref().take(limit).collect();
    let remaining = rest.count();
    let next = items.last().filter(|_| remaining > 0).map(|last| Cursor {
        revision: at,
        namespace: last.key().namespace().to_string(),
        name: last.key().name().to_string(),
    });
    Page { revision: at, items, next, remaining }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::{Change, Expect};
    use crate::store::memory::MemoryStore;
    use serde_json::json;

    #[tokio::test]
    async fn a_list_can_be_had_as_it_was() {
        let db = Db::open(MemoryStore).await.unwrap();
        let put = |name: &'static str, n: i32| {
            let db = db.clone();
            async move {
                let change = Change::Put(json!({"metadata": {"name": name}, "n": n}));
                db.write(Key::new("things", "", name), Expect::Any, change).await.unwrap().revision
            }
        };
        put("a", 1).await;
        put("b", 1).await;
        let then = put("c", 1).await;
        put("a", 2).await;
        put("d", 1).await;
        db.write(Key::new("things", "", "b"), Expect::Any, Change::Delete).await.unwrap();
        put("a", 3).await;
        let query = ListQuery { resource: "things", limit: 2, ..ListQuery::default() };
        let first = page(&db, &query, then, &|_| true).unwrap();
        let names = |page: &Page| page.items.iter().map(|o| o.key().name().to_string()).collect::<Vec<_>>();
        assert_eq!(names(&first), ["a", "b"]);
        assert_eq!(first.items[0].value()["n"], 1);
        assert_eq!(first.remaining, 1);
        let second = page(&db, &ListQuery { cursor: first.next, ..query }, then, &|_| true).unwrap();
        assert_eq!(names(&second), ["c"]);
        assert!(second.next.is_none());
    }
}
