//! Tests of per-user conversation settings, and of positions of messages and events.

use std::sync::Arc;

use storage::{
    ConversationId, Fact, Folder, InboxFilter, Message, MessageId, MessageLocation, Page, Position, Scope, Storage, Topic,
    WindowState,
};

use crate::people::{at, conversation, lock, new_message, post, read_up_to, say, users, write};

on_every_backend!(
    a_place_is_each_participants_own,
    who_leaves_is_gone_and_comes_back_as_new,
    each_participants_last_message_is_known,
    messages_are_found_by_their_place,
    a_drawn_id_is_no_messages,
    the_log_knows_where_it_was_at_a_time,
);

async fn a_place_is_each_participants_own(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let set = async |partner, window, shelf| {
        write(&store, async |tx| tx.set_conversation_settings(room, partner, window, shelf).await.unwrap()).await
    };
    assert!(set(ann.partner.id, Some(WindowState::Folded), None).await);
    assert!(!set(ann.partner.id, Some(WindowState::Folded), None).await, "it is so already");
    assert!(set(ann.partner.id, Some(WindowState::Folded), Some(Folder::Favorite)).await);
    assert!(!set(ann.partner.id, None, None).await);
    assert!(!set(cat.partner.id, Some(WindowState::Closed), None).await);
    let place = async |partner| {
        let (_, place) = store.conversation_seen_by(room, partner).await.unwrap().unwrap();
        let place = place.unwrap();
        let entry = store.inbox(partner, InboxFilter::default()).await.unwrap().remove(0);
        assert_eq!((entry.window, entry.shelf), (place.window, place.folder));
        (place.window, place.folder)
    };
    assert_eq!(place(ann.partner.id).await, (WindowState::Folded, Folder::Favorite));
    assert_eq!(place(ben.partner.id).await, (WindowState::Open, Folder::Active));
}

async fn who_leaves_is_gone_and_comes_back_as_new(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    say(&store, room, &ben, "one").await;
    let own = say(&store, room, &ann, "two").await;
    read_up_to(&store, room, ann.partner.id, 2).await;
    let leave = async || {
        write(&store, async |tx| {
            let of = lock(tx, room).await.remove(0);
            tx.delete_participant(&of, ann.partner.id).await.unwrap()
        })
        .await
    };
    assert!(leave().await);
    assert!(!leave().await);
    assert_eq!(store.participant_ids(room).await.unwrap(), [ben.partner.id]);
    assert_eq!(store.inbox(ann.partner.id, InboxFilter::default()).await.unwrap(), []);
    assert_eq!(store.events(Position(0), Scope::Partner(ann.partner.id), 10).await.unwrap(), []);
    let seen = store.messages(room, ben.partner.id, Page::Newest { offset: 0, limit: 10 }).await.unwrap();
    assert_eq!(seen.len(), 2, "what it wrote stays");
    assert!(seen[1].is_read, "what was read stays read");

    say(&store, room, &ben, "three").await;
    write(&store, async |tx| {
        let of = lock(tx, room).await.remove(0);
        tx.insert_participants(&of, &[ann.partner.id], 0, at(9)).await.unwrap();
    })
    .await;
    let (_, place) = store.conversation_seen_by(room, ann.partner.id).await.unwrap().unwrap();
    assert_eq!(place.map(|place| (place.unread, place.read_seq)), Some((0, 3)));
    assert!(store.last_messages(&[(room, ann.partner.id)], ben.partner.id).await.unwrap().iter().all(|last| last.id != own.id));
}

async fn each_participants_last_message_is_known(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben, &cat]).await;
    let other = conversation(&store, &[&ann]).await;
    let unknown = ConversationId(1_000);
    let everybody = [(room, &ann), (room, &ben), (room, &cat), (other, &ann), (other, &ben), (unknown, &ann)];
    let everybody = everybody.map(|(id, user)| (id, user.partner.id));
    assert_eq!(store.last_messages(&everybody, ben.partner.id).await.unwrap(), []);
    say(&store, room, &ann, "old").await;
    let ben_last = say(&store, room, &ben, "of ben").await;
    let ann_last = write(&store, async |tx| {
        let to = lock(tx, room).await;
        let new = vec![new_message(room, &ann, "middle"), new_message(room, &ann, "of ann")];
        tx.insert_messages(to, new).await.unwrap().remove(1)
    })
    .await;
    let elsewhere = say(&store, other, &ann, "elsewhere").await;
    let mut last = store.last_messages(&everybody, ben.partner.id).await.unwrap();
    last.sort_by_key(|message| message.id);
    assert_eq!(last, [ben_last.clone(), ann_last, elsewhere.clone()]);
    assert_eq!(store.last_messages(&[(other, ann.partner.id)], ben.partner.id).await.unwrap(), [elsewhere]);
    assert_eq!(store.last_messages(&[(room, ben.partner.id)], ben.partner.id).await.unwrap(), [ben_last], "of no others");
}

async fn messages_are_found_by_their_place(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let (first, second) = (say(&store, room, &ann, "1").await, say(&store, room, &ann, "2").await);
    let elsewhere = say(&store, other, &ann, "elsewhere").await;
    let places = [(room, 2), (room, 1), (room, 3), (room, 0), (room, -1), (other, 1), (room, 2), (ConversationId(1_000), 1)];
    let mut found = store.messages_at(&places).await.unwrap();
    found.sort_by_key(|message| message.id);
    let located = |message: &Message| MessageLocation {
        conversation: message.conversation,
        seq: message.seq,
        id: message.id,
        author: message.author.partner,
    };
    let expected = [&first, &second, &elsewhere].map(located);
    assert_eq!(found, expected);
    let ids = [second.id, MessageId(1_000_000), elsewhere.id, first.id, second.id];
    let mut found = store.locate_messages(&ids).await.unwrap();
    found.sort_by_key(|message| message.id);
    assert_eq!(found, expected);
    assert_eq!(store.locate_messages(&[]).await.unwrap(), []);
    assert_eq!(store.messages_at(&[]).await.unwrap(), []);
}

async fn a_drawn_id_is_no_messages(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    let before = say(&store, room, &ann, "before").await.id;
    let drawn = store.draw_message_id().await.unwrap();
    let after = say(&store, room, &ann, "after").await;
    assert!(before < drawn && drawn < after.id);
    assert_eq!(after.seq, 2, "it leaves no gap");
    assert_eq!(store.messages_by_id(&[drawn]).await.unwrap(), []);
    assert!(store.draw_message_id().await.unwrap() > MessageId(drawn.0));
}

async fn the_log_knows_where_it_was_at_a_time(store: Arc<dyn Storage>) {
    assert_eq!(store.position_at(at(0)).await.unwrap(), Position(0));
    let [ann] = users(&store, ["ann"]).await;
    let room = conversation(&store, &[&ann]).await;
    for seconds in [10, 10, 20, 30] {
        let mut new = new_message(room, &ann, "tick");
        new.created_at = at(seconds);
        post(&store, new).await;
    }
    write(&store, async |tx| {
        tx.record(Topic::Partner(ann.partner.id), Fact::UserChanged { user: ann.id }, at(40));
    })
    .await;
    let newest = store.position().await.unwrap();
    for (seconds, back) in [(9, 5), (10, 3), (19, 3), (20, 2), (30, 1), (39, 1), (40, 0), (1_000, 0)] {
        assert_eq!(store.position_at(at(seconds)).await.unwrap(), Position(newest.0 - back), "at {seconds}");
    }
}
