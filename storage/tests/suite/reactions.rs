//! Tests of reactions.

use std::sync::Arc;

use storage::{Conversation, ConversationId, Locked, Message, MessageId, Page, ReactionCount, Storage, Tx, User};

use crate::people::{at, conversation, delete, lock, say, users, write};

on_every_backend!(
    reactions_are_counted_in_the_order_first_given,
    a_reaction_is_given_once,
    a_reaction_is_taken_back,
    pages_show_reactions,
    reactions_go_with_their_message,
    reactions_are_to_messages_of_the_conversation,
    contents_are_told_apart_by_their_bytes,
);

async fn react(store: &Arc<dyn Storage>, to: &Message, by: &User, content: &str, seconds: i64) -> bool {
    write(store, async |tx| {
        let of = lock(tx, to.conversation).await;
        tx.insert_reaction(&of[0], to.id, by.partner.id, content, at(seconds)).await.unwrap()
    })
    .await
}

async fn take_back(store: &Arc<dyn Storage>, to: &Message, by: &User, content: &str) -> bool {
    write(store, async |tx| {
        let of = lock(tx, to.conversation).await;
        tx.delete_reaction(&of[0], to.id, by.partner.id, content).await.unwrap()
    })
    .await
}

async fn contents(tx: &mut dyn Tx, of: &Locked<Conversation>, message: MessageId) -> Vec<String> {
    let mut contents = tx.reaction_contents(of, message).await.unwrap();
    contents.sort_unstable();
    contents
}

fn counted<const N: usize>(counts: [(&str, i64, bool); N]) -> Vec<ReactionCount> {
    counts.map(|(content, count, by_reader)| ReactionCount { content: content.to_owned(), count, by_reader }).into()
}

async fn reactions_are_counted_in_the_order_first_given(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let room = conversation(&store, &[&ann, &ben, &cat]).await;
    let [message, other] = [say(&store, room, &ann, "look").await, say(&store, room, &ann, "here").await];
    let given = [(&ben, "👍", 5), (&ann, "🦀", 2), (&cat, "👍", 1), (&ann, "b", 2), (&cat, "a", 9)];
    for (by, content, seconds) in given {
        assert!(react(&store, &message, by, content, seconds).await);
    }
    assert!(react(&store, &other, &ben, "🦀", 1).await);
    let seen = async |reader: &User| store.reactions(message.id, reader.partner.id).await.unwrap();
    assert_eq!(seen(&ann).await, counted([("👍", 2, false), ("b", 1, true), ("🦀", 1, true), ("a", 1, false)]));
    assert_eq!(seen(&cat).await, counted([("👍", 2, true), ("b", 1, false), ("🦀", 1, false), ("a", 1, true)]));
    assert_eq!(store.reactions(MessageId(1_000_000), ann.partner.id).await.unwrap(), []);
    write(&store, async |tx| {
        let of = lock(tx, room).await;
        assert_eq!(contents(tx, &of[0], message.id).await, ["a", "b", "👍", "🦀"]);
        assert_eq!(contents(tx, &of[0], other.id).await, ["🦀"]);
    })
    .await;
}

async fn a_reaction_is_given_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let message = say(&store, conversation(&store, &[&ann]).await, &ann, "look").await;
    assert!(react(&store, &message, &ann, "a", 5).await);
    assert!(!react(&store, &message, &ann, "a", 1).await);
    assert!(react(&store, &message, &ann, "b", 3).await, "another one");
    assert_eq!(store.reactions(message.id, ann.partner.id).await.unwrap(), counted([("b", 1, true), ("a", 1, true)]));
}

async fn a_reaction_is_taken_back(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let message = say(&store, conversation(&store, &[&ann, &ben]).await, &ann, "look").await;
    for (by, content, seconds) in [(&ann, "a", 1), (&ben, "a", 3), (&ben, "b", 2)] {
        react(&store, &message, by, content, seconds).await;
    }
    assert!(!take_back(&store, &message, &ann, "b").await, "it is another's");
    assert!(take_back(&store, &message, &ann, "a").await);
    assert!(!take_back(&store, &message, &ann, "a").await);
    assert_eq!(store.reactions(message.id, ann.partner.id).await.unwrap(), counted([("b", 1, false), ("a", 1, false)]));
    assert!(take_back(&store, &message, &ben, "a").await && take_back(&store, &message, &ben, "b").await);
    assert_eq!(store.reactions(message.id, ann.partner.id).await.unwrap(), []);
    assert!(react(&store, &message, &ann, "a", 9).await, "it may be given again");
    let mut tx = store.begin().await.unwrap();
    let of = lock(&mut *tx, message.conversation).await;
    tx.delete_reaction(&of[0], message.id, ann.partner.id, "a").await.unwrap();
    drop(tx);
    assert_eq!(store.reactions(message.id, ben.partner.id).await.unwrap(), counted([("a", 1, false)]));
}

/// The reactions to each message of a page, as one reader sees them.
async fn paged(store: &Arc<dyn Storage>, room: ConversationId, reader: &User, page: Page) -> Vec<Vec<ReactionCount>> {
    let page = store.messages(room, reader.partner.id, page).await.unwrap();
    page.into_iter().map(|seen| seen.reactions).collect()
}

async fn pages_show_reactions(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let [one, two] = [say(&store, room, &ann, "one").await, say(&store, room, &ann, "two").await];
    for (to, by, content, seconds) in [(&one, &ben, "b", 2), (&one, &ann, "b", 1), (&one, &ben, "a", 3), (&two, &ben, "c", 1)] {
        react(&store, to, by, content, seconds).await;
    }
    take_back(&store, &two, &ben, "c").await;
    let (hers, his) = (counted([("b", 2, true), ("a", 1, false)]), counted([("b", 2, true), ("a", 1, true)]));
    let newest = Page::Newest { offset: 0, limit: 9 };
    assert_eq!(paged(&store, room, &ann, newest).await, [vec![], hers.clone()]);
    assert_eq!(paged(&store, room, &ben, newest).await, [vec![], his]);
    assert_eq!(paged(&store, room, &ann, Page::Before { id: two.id, limit: 1 }).await, std::slice::from_ref(&hers));
    assert_eq!(paged(&store, room, &ann, Page::After { id: MessageId(0), limit: 1 }).await, [hers]);
}

async fn reactions_go_with_their_message(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let room = conversation(&store, &[&ann, &ben]).await;
    let [gone, kept] = [say(&store, room, &ann, "gone").await, say(&store, room, &ann, "kept").await];
    for message in [&gone, &kept] {
        react(&store, message, &ben, "a", 1).await;
    }
    delete(&store, &gone).await;
    assert_eq!(store.reactions(gone.id, ben.partner.id).await.unwrap(), []);
    let expected = counted([("a", 1, true)]);
    assert_eq!(paged(&store, room, &ben, Page::Newest { offset: 0, limit: 9 }).await, [expected, vec![]]);
    write(&store, async |tx| {
        let of = lock(tx, room).await;
        assert_eq!(contents(tx, &of[0], gone.id).await, [""; 0]);
        assert!(!tx.delete_reaction(&of[0], gone.id, ben.partner.id, "a").await.unwrap());
    })
    .await;
}

async fn reactions_are_to_messages_of_the_conversation(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let [room, other] = [conversation(&store, &[&ann]).await, conversation(&store, &[&ann]).await];
    let message = say(&store, room, &ann, "look").await;
    write(&store, async |tx| {
        let of = lock(tx, other).await;
        for id in [message.id, MessageId(1_000_000)] {
            assert!(!tx.insert_reaction(&of[0], id, ann.partner.id, "a", at(1)).await.unwrap());
        }
    })
    .await;
    assert_eq!(store.reactions(message.id, ann.partner.id).await.unwrap(), []);
}

async fn contents_are_told_apart_by_their_bytes(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let message = say(&store, conversation(&store, &[&ann]).await, &ann, "look").await;
    for content in ["e\u{301}", "\u{e9}", "E\u{301}", "❤", "❤\u{fe0f}", " a", "a"] {
        assert!(react(&store, &message, &ann, content, 1).await, "{content}");
    }
    let seen = store.reactions(message.id, ann.partner.id).await.unwrap();
    assert!(seen.is_sorted_by(|one, two| one.content < two.content), "of the same time, by their bytes: {seen:?}");
    assert_eq!(seen.len(), 7);
}
