//! Tests of the directory: conversations by uuid, by participants, by group and by key.

use std::sync::Arc;

use storage::{ConversationId, ConversationKind, Document, NewConversation, Storage, User};
use uuid::Uuid;

use crate::people::{conflict, lock, new_conversation, users, write};

on_every_backend!(
    uuids_and_ids_name_the_same,
    a_direct_conversation_is_found_by_its_people_and_document,
    all_direct_conversations_of_two_are_found,
    a_group_finds_its_oldest_conversation,
    a_key_belongs_to_one_conversation,
    of_two_who_take_a_key_one_gets_it,
);

fn order(id: i64) -> Document {
    Document { model: "sale.order".to_owned(), id }
}

async fn direct(store: &Arc<dyn Storage>, people: &[&User], documents: Vec<Document>) -> ConversationId {
    let new = NewConversation { kind: ConversationKind::Direct, documents, ..new_conversation(people) };
    write(store, async |tx| tx.insert_conversation(new).await.unwrap().id).await
}

async fn uuids_and_ids_name_the_same(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [first, second] = [direct(&store, &[&ann], Vec::new()).await, direct(&store, &[&ann], Vec::new()).await];
    let mut pairs = Vec::new();
    for id in [first, second] {
        pairs.push((id, store.conversation(id).await.unwrap().unwrap().uuid));
    }
    let mut found = store.conversations_by_uuid(&[pairs[1].1, Uuid::nil(), pairs[0].1, pairs[1].1]).await.unwrap();
    found.sort();
    assert_eq!(found, pairs);
    let mut found = store.conversation_uuids(&[second, first, ConversationId(1_000), first]).await.unwrap();
    found.sort();
    assert_eq!(found, pairs);
    assert_eq!(store.conversations_by_uuid(&[]).await.unwrap(), []);
}

async fn a_direct_conversation_is_found_by_its_people_and_document(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let find = async |one: &User, other: &User, about: Option<Document>| {
        store.direct_conversation((one.partner.id, other.partner.id), about.as_ref()).await.unwrap()
    };
    assert_eq!(find(&ann, &ben, None).await, None);
    direct(&store, &[&ann, &ben, &cat], Vec::new()).await;
    write(&store, async |tx| tx.insert_conversation(new_conversation(&[&ann, &ben])).await.unwrap()).await;
    assert_eq!(find(&ann, &ben, None).await, None, "neither three people nor a group");

    let plain = direct(&store, &[&ann, &ben], Vec::new()).await;
    let about = direct(&store, &[&ben, &ann], vec![order(7)]).await;
    direct(&store, &[&ann, &ben], Vec::new()).await;
    direct(&store, &[&ann, &ben], vec![order(8), order(9)]).await;
    let alone = direct(&store, &[&ann], Vec::new()).await;
    for (one, other) in [(&ann, &ben), (&ben, &ann)] {
        assert_eq!(find(one, other, None).await, Some(plain));
        assert_eq!(find(one, other, Some(order(7))).await, Some(about));
        assert_eq!(find(one, other, Some(order(8))).await, None);
        assert_eq!(find(one, other, Some(Document { model: "sale".to_owned(), id: 7 })).await, None);
    }
    assert_eq!(find(&ann, &ann, None).await, Some(alone));
    assert_eq!(find(&ben, &ben, None).await, None);
    assert_eq!(find(&cat, &ann, None).await, None);
}

async fn all_direct_conversations_of_two_are_found(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let find = async |one: &User, other: &User| store.direct_conversations((one.partner.id, other.partner.id)).await.unwrap();
    assert_eq!(find(&ann, &ben).await, []);
    direct(&store, &[&ann, &ben, &cat], Vec::new()).await;
    write(&store, async |tx| tx.insert_conversation(new_conversation(&[&ann, &ben])).await.unwrap()).await;
    let both = [direct(&store, &[&ann, &ben], Vec::new()).await, direct(&store, &[&ben, &ann], vec![order(7)]).await];
    let alone = direct(&store, &[&ann], Vec::new()).await;
    assert_eq!(find(&ann, &ben).await, both);
    assert_eq!(find(&ben, &ann).await, both);
    assert_eq!(find(&ann, &ann).await, [alone]);
    assert_eq!(find(&ann, &cat).await, []);
}

async fn a_group_finds_its_oldest_conversation(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let (news, other) = write(&store, async |tx| {
        (tx.insert_group(None, "News").await.unwrap().id, tx.insert_group(None, "Other").await.unwrap().id)
    })
    .await;
    let begin = async |documents: Vec<Document>| {
        let new = NewConversation { group: Some(news), documents, ..new_conversation(&[&ann]) };
        write(&store, async |tx| tx.insert_conversation(new).await.unwrap().id).await
    };
    let (first, _) = (begin(Vec::new()).await, begin(Vec::new()).await);
    let about = begin(vec![order(1)]).await;
    assert_eq!(store.group_conversation(news, None).await.unwrap(), Some(first));
    assert_eq!(store.group_conversation(news, Some(&order(1))).await.unwrap(), Some(about));
    assert_eq!(store.group_conversation(news, Some(&order(2))).await.unwrap(), None);
    assert_eq!(store.group_conversation(other, None).await.unwrap(), None);
}

async fn a_key_belongs_to_one_conversation(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [first, second] = [direct(&store, &[&ann], Vec::new()).await, direct(&store, &[&ann], Vec::new()).await];
    write(&store, async |tx| {
        tx.set_key(first, Some("a")).await.unwrap();
        tx.set_key(first, Some("a")).await.unwrap();
        tx.set_key(second, None).await.unwrap();
    })
    .await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.set_key(second, Some("a")).await), "conversations_key");
    drop(tx);
    write(&store, async |tx| {
        tx.set_key(first, Some("b")).await.unwrap();
        tx.set_key(second, Some("a")).await.unwrap();
        tx.set_key(first, None).await.unwrap();
    })
    .await;
    write(&store, async |tx| {
        lock(tx, second).await;
        tx.set_key(second, Some("b")).await.unwrap();
        tx.set_key(first, Some("a")).await.unwrap();
    })
    .await;
}

async fn of_two_who_take_a_key_one_gets_it(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let attempts = (0..4).map(|_| {
        let (store, new) = (Arc::clone(&store), new_conversation(&[&ann]));
        tokio::spawn(async move {
            let mut tx = store.begin().await.unwrap();
            let id = tx.insert_conversation(new).await.unwrap().id;
            match tx.set_key(id, Some("the one")).await {
                Ok(()) => tx.commit().await.map(|_| true).unwrap(),
                taken => {
                    assert_eq!(conflict(taken), "conversations_key");
                    false
                }
            }
        })
    });
    let mut winners = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        winners += u32::from(attempt.await.unwrap());
    }
    assert_eq!(winners, 1);
}
