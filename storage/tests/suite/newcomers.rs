//! Tests of newcomers, from whom earlier messages are hidden.

use std::sync::Arc;

use storage::{
    AttachmentAccess, ConversationId, Fact, InboxFilter, Member, Message, MessageId, NewMessage, Page, ParticipantRole,
    ParticipantStatus, Position, ReadRange, Scope, Storage, Topic, User,
};

use crate::people::{at, begin, bodies, file, join, leave, lock, new_message, post, read_up_to, say, send, users, write};

on_every_backend!(
    pages_end_at_what_is_hidden,
    what_is_hidden_may_reach_beyond_the_newest_message,
    hidden_files_are_not_listed,
    a_hidden_file_is_out_of_reach,
    a_hidden_last_message_is_none,
    hidden_messages_are_no_news,
    the_log_hides_the_same,
    a_newcomers_standing_is_known_everywhere,
    a_newcomer_has_nothing_unread,
    a_newcomer_reads_nothing_that_is_hidden,
    what_a_newcomer_has_read_ends_where_it_came_in,
    coming_back_hides_anew,
);

/// A conversation with the messages `a`, `b` and `c` from before Cat joined, and `d` and `e` from after.
struct Room {
    id: ConversationId,
    ann: User,
    ben: User,
    cat: User,
    said: Vec<Message>,
}

async fn room(store: &Arc<dyn Storage>) -> Room {
    let [ann, ben, cat] = users(store, ["ann", "ben", "cat"]).await;
    let (id, other) = (begin(store, &[&ann, &ben]).await, begin(store, &[&ann]).await);
    let mut said = Vec::new();
    for body in ["a", "b", "c", "d", "e"] {
        if body == "d" {
            join(store, id, &cat, 3).await;
        }
        said.push(say(store, id, if body == "b" { &ben } else { &ann }, body).await);
        say(store, other, &ann, "elsewhere").await;
    }
    Room { id, ann, ben, cat, said }
}

async fn pages_end_at_what_is_hidden(store: Arc<dyn Storage>) {
    let Room { id, ann, cat, said, .. } = room(&store).await;
    let [dan] = users(&store, ["dan"]).await;
    let newest = |offset, limit| Page::Newest { offset, limit };
    let before = |seq: usize, limit| Page::Before { id: said[seq - 1].id, limit };
    let after = |seq: usize, limit| Page::After { id: said[seq - 1].id, limit };
    for (page, hers, anns) in [
        (newest(0, 10), "ed", "edcba"),
        (newest(0, 1), "e", "e"),
        (newest(1, 10), "d", "dcba"),
        (newest(1, 1), "d", "d"),
        (newest(2, 10), "", "cba"),
        (newest(4, 10), "", "a"),
        (before(5, 10), "d", "dcba"),
        (before(5, 1), "d", "d"),
        (before(4, 10), "", "cba"),
        (before(2, 10), "", "a"),
        (Page::After { id: MessageId(0), limit: 10 }, "de", "abcde"),
        (Page::After { id: MessageId(0), limit: 1 }, "d", "a"),
        (after(1, 2), "de", "bc"),
        (after(3, 10), "de", "de"),
        (after(4, 10), "e", "e"),
        (after(5, 10), "", ""),
    ] {
        assert_eq!(bodies(&store, id, &cat, page).await, hers, "{page:?}");
        assert_eq!(bodies(&store, id, &ann, page).await, anns, "{page:?}");
        assert_eq!(bodies(&store, id, &dan, page).await, anns, "from who is not in it nothing is hidden: {page:?}");
    }
    for (reader, bytes) in [(&cat, 1), (&ann, 4), (&dan, 4)] {
        assert_eq!(store.newest_bytes(id, reader.partner.id, 1, 10).await.unwrap(), bytes);
    }
}

async fn what_is_hidden_may_reach_beyond_the_newest_message(store: Arc<dyn Storage>) {
    let Room { id, ann, said, .. } = room(&store).await;
    let [dan] = users(&store, ["dan"]).await;
    join(&store, id, &dan, 6).await;
    let (newest, before) = (Page::Newest { offset: 0, limit: 9 }, Page::Before { id: MessageId(i64::MAX), limit: 9 });
    let pages = [newest, before, Page::After { id: said[0].id, limit: 9 }];
    for (seen, body) in [("", "f"), ("", "g"), ("g", "h")] {
        for page in pages {
            assert_eq!(bodies(&store, id, &dan, page).await, seen, "{page:?}");
        }
        say(&store, id, &ann, body).await;
    }
}

async fn hidden_files_are_not_listed(store: Arc<dyn Storage>) {
    let [ann, cat] = users(&store, ["ann", "cat"]).await;
    let id = begin(&store, &[&ann]).await;
    let mut sent = Vec::new();
    for name in ["one", "two", "three", "four"] {
        sent.push(send(&store, id, &ann, &[&file(&store, &ann, name).await]).await);
    }
    join(&store, id, &cat, 2).await;
    let files = async |reader: &User, before: Option<MessageId>, limit| {
        let files = store.messages_with_files(id, reader.partner.id, before, limit).await.unwrap();
        files.iter().map(|message| message.seq).collect::<Vec<_>>()
    };
    assert_eq!(files(&cat, None, 10).await, [4, 3]);
    assert_eq!(files(&cat, None, 1).await, [4]);
    assert_eq!(files(&cat, Some(sent[3].id), 10).await, [3]);
    assert_eq!(files(&cat, Some(sent[1].id), 10).await, [0; 0]);
    assert_eq!(files(&ann, None, 10).await, [4, 3, 2, 1]);
}

async fn a_hidden_file_is_out_of_reach(store: Arc<dyn Storage>) {
    let [ann, cat] = users(&store, ["ann", "cat"]).await;
    let id = begin(&store, &[&ann]).await;
    let file = file(&store, &ann, "file").await;
    send(&store, id, &ann, &[&file]).await;
    join(&store, id, &cat, 1).await;
    let reach = async |reader: &User| store.attachment_access(file.id, reader.partner.id).await.unwrap();
    assert_eq!((reach(&ann).await, reach(&cat).await), (Some(AttachmentAccess::Reader), Some(AttachmentAccess::NoAccess)));
    send(&store, id, &ann, &[&file]).await;
    assert_eq!(
        (reach(&ann).await, reach(&cat).await),
        (Some(AttachmentAccess::Reader), Some(AttachmentAccess::Reader)),
        "it was sent again"
    );
}

async fn a_hidden_last_message_is_none(store: Arc<dyn Storage>) {
    let Room { id, ann, ben, cat, .. } = room(&store).await;
    let [dan] = users(&store, ["dan"]).await;
    join(&store, id, &dan, 5).await;
    let last = async |reader: &User| {
        let only = InboxFilter { only: Some(&[id]), ..InboxFilter::default() };
        let entry = store.inbox(reader.partner.id, only).await.unwrap().remove(0);
        assert_eq!(Some(entry.conversation), store.conversation(id).await.unwrap(), "the conversation is the same for all");
        let each = [&ann, &ben, &cat, &dan].map(|author| (id, author.partner.id));
        let mut each: Vec<_> = store.last_messages(&each, reader.partner.id).await.unwrap().iter().map(|last| last.seq).collect();
        each.sort_unstable();
        (entry.last_message.map(|last| last.seq), each)
    };
    assert_eq!(last(&ann).await, (Some(5), vec![2, 5]));
    assert_eq!(last(&dan).await, (None, vec![]));
    assert_eq!(last(&cat).await, (Some(5), vec![5]), "of Ben is nothing new");
    say(&store, id, &ben, "f").await;
    assert_eq!(last(&dan).await, (Some(6), vec![6]));
    assert_eq!(last(&cat).await, (Some(6), vec![5, 6]));
}

async fn hidden_messages_are_no_news(store: Arc<dyn Storage>) {
    let [ann, cat] = users(&store, ["ann", "cat"]).await;
    let id = begin(&store, &[&ann]).await;
    let post =
        async |by: &User, seconds| post(&store, NewMessage { created_at: at(seconds), ..new_message(id, by, "news") }).await;
    post(&ann, 50).await;
    join(&store, id, &cat, 1).await;
    let news = async |seconds| !store.conversations_with_new_messages(cat.partner.id, at(seconds)).await.unwrap().is_empty();
    assert!(!news(0).await);
    post(&cat, 60).await;
    assert!(!news(0).await, "only its own");
    // Timestamps need not ascend.
    post(&ann, 40).await;
    assert!(news(30).await && !news(45).await, "the hidden one is younger");
}

async fn the_log_hides_the_same(store: Arc<dyn Storage>) {
    let Room { id, ann, ben, cat, said } = room(&store).await;
    let after = store.position().await.unwrap();
    write(&store, async |tx| {
        for message in [&said[2], &said[3]] {
            let of = lock(tx, id).await;
            let edited = tx.edit_message(&of[0], message.id, "edited", ann.partner.id, at(1)).await.unwrap().unwrap();
            let (partner, content) = (ben.partner.id, "+1".to_owned());
            let reacted = Fact::MessageReacted { message: message.id, seq: message.seq, partner, content, removed: false };
            for fact in [Fact::MessageEdited(edited), reacted] {
                tx.record(Topic::Conversation(id), fact, at(1));
            }
        }
        let read = Fact::ReadUpTo { partner: ben.partner.id, seq: 2, messages: Vec::new() };
        tx.record(Topic::Conversation(id), read, at(1));
    })
    .await;
    let seqs = async |reader: &User, after| {
        let events = store.events(after, Scope::Partner(reader.partner.id), 100).await.unwrap();
        events.iter().map(|event| event.fact.seq()).collect::<Vec<_>>()
    };
    assert_eq!(seqs(&ben, after).await, [Some(3), Some(3), Some(4), Some(4), Some(2)]);
    assert_eq!(seqs(&cat, after).await, [Some(4), Some(4)]);
    assert_eq!(seqs(&cat, Position(0)).await, [None, Some(4), Some(5), Some(4), Some(4)], "from its joining on");
    let limited = store.events(after, Scope::Partner(cat.partner.id), 1).await.unwrap();
    assert_eq!(limited[0].fact.seq(), Some(4), "what is hidden takes no place");
    let member = |user: &User, visible_from_seq| Member { partner: user.partner.id, visible_from_seq };
    let members = store.members_at(id, store.position().await.unwrap()).await.unwrap();
    assert_eq!(members, [member(&ann, 0), member(&ben, 0), member(&cat, 3)]);
}

async fn a_newcomers_standing_is_known_everywhere(store: Arc<dyn Storage>) {
    let Room { id, ann, cat, .. } = room(&store).await;
    let expected = ParticipantStatus { role: ParticipantRole::Member, visible_from_seq: 3, muted_until: None };
    let participants = store.participants(id).await.unwrap();
    let listed = participants.iter().find(|participant| participant.person == cat.person()).unwrap();
    assert_eq!(listed.status, expected);
    let (_, seen) = store.conversation_seen_by(id, cat.partner.id).await.unwrap().unwrap();
    assert_eq!(seen.as_ref(), Some(listed));
    let pairs = [ann.partner.id, cat.partner.id].map(|partner| (id, partner));
    let standings = write(&store, async |tx| tx.participant_statuses(&pairs).await.unwrap()).await;
    assert_eq!((standings[&pairs[0]], standings[&pairs[1]]), (ParticipantStatus::default(), expected));
}

async fn a_newcomer_has_nothing_unread(store: Arc<dyn Storage>) {
    let Room { id, ann, .. } = room(&store).await;
    let [dan] = users(&store, ["dan"]).await;
    join(&store, id, &dan, 5).await;
    assert_eq!(store.unread_totals(dan.partner.id).await.unwrap().group, 0);
    say(&store, id, &ann, "f").await;
    assert_eq!(store.unread_totals(dan.partner.id).await.unwrap().group, 1);
    assert_eq!(read_up_to(&store, id, dan.partner.id, 6).await, 1);
}

/// Tests that hidden messages are not marked as read: their authors would see a read receipt.
async fn a_newcomer_reads_nothing_that_is_hidden(store: Arc<dyn Storage>) {
    let [ann, ben, cat] = users(&store, ["ann", "ben", "cat"]).await;
    let id = begin(&store, &[&ann, &ben]).await;
    for body in ["a", "b"] {
        say(&store, id, &ann, body).await;
    }
    join(&store, id, &cat, 2).await;
    assert_eq!(read_up_to(&store, id, cat.partner.id, 2).await, 0);
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), []);
    say(&store, id, &ann, "c").await;
    assert_eq!(read_up_to(&store, id, cat.partner.id, 3).await, 1);
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), [range(2, 3)]);
}

fn range(after: i64, upto: i64) -> ReadRange {
    ReadRange { after, upto }
}

/// Read receipts of Ann's messages as Ann sees them, oldest first.
async fn receipts(store: &Arc<dyn Storage>, id: ConversationId, ann: &User) -> Vec<bool> {
    let mut seen = store.messages(id, ann.partner.id, Page::latest(20)).await.unwrap();
    seen.retain(|seen| seen.message.author.partner == ann.partner.id);
    seen.iter().rev().map(|seen| seen.is_read).collect()
}

/// Tests that a message from before a newcomer joined is read only once an earlier member has read it.
async fn what_a_newcomer_has_read_ends_where_it_came_in(store: Arc<dyn Storage>) {
    let Room { id, ann, ben, cat, .. } = room(&store).await;
    let [dan] = users(&store, ["dan"]).await;
    join(&store, id, &dan, 5).await;
    say(&store, id, &ann, "f").await;
    // Ann's messages have the numbers 1 and 3 to 6.
    assert_eq!(receipts(&store, id, &ann).await, [false; 5]);
    read_up_to(&store, id, cat.partner.id, 4).await;
    assert_eq!(receipts(&store, id, &ann).await, [false, false, true, false, false]);
    read_up_to(&store, id, dan.partner.id, 6).await;
    assert_eq!(receipts(&store, id, &ann).await, [false, false, true, false, true]);
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), [range(3, 4), range(5, 6)]);
    let unread = store.unread_by_others(ann.partner.id, 9).await.unwrap();
    let unread = unread.into_iter().find(|unread| unread.conversation == id).unwrap();
    assert_eq!((unread.read, unread.own_seq), (vec![range(3, 4), range(5, 6)], 6), "though its newest was read");
    // Receipts stay when a reader leaves. A reader who comes back is a newcomer again.
    leave(&store, id, &dan).await;
    leave(&store, id, &cat).await;
    assert_eq!(receipts(&store, id, &ann).await, [false, false, true, false, true]);
    join(&store, id, &cat, 6).await;
    say(&store, id, &ann, "g").await;
    read_up_to(&store, id, cat.partner.id, 7).await;
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), [range(3, 4), range(5, 7)]);
    read_up_to(&store, id, ben.partner.id, 3).await;
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), [range(0, 4), range(5, 7)]);
    read_up_to(&store, id, ben.partner.id, 7).await;
    assert_eq!(store.read_by_others(id, ann.partner.id).await.unwrap(), [range(0, 7)]);
    assert_eq!(receipts(&store, id, &ann).await, [true; 6]);
    let unread = store.unread_by_others(ann.partner.id, 9).await.unwrap();
    assert!(unread.iter().all(|unread| unread.conversation != id), "{unread:?}");
}

async fn coming_back_hides_anew(store: Arc<dyn Storage>) {
    let Room { id, ann, cat, .. } = room(&store).await;
    leave(&store, id, &cat).await;
    say(&store, id, &ann, "f").await;
    join(&store, id, &cat, 6).await;
    say(&store, id, &ann, "g").await;
    assert_eq!(bodies(&store, id, &cat, Page::Newest { offset: 0, limit: 9 }).await, "g");
    assert_eq!(bodies(&store, id, &cat, Page::After { id: MessageId(0), limit: 9 }).await, "g");
    // The event log shows both membership intervals, and nothing between them.
    let told = store.events(Position(0), Scope::Partner(cat.partner.id), 100).await.unwrap();
    let seqs: Vec<_> = told.iter().filter_map(|event| event.fact.seq()).collect();
    assert_eq!(seqs, [4, 5, 7]);
    // Joining again is idempotent.
    write(&store, async |tx| {
        let to = lock(tx, id).await;
        assert_eq!(tx.insert_participants(&to[0], &[cat.partner.id], 0, at(1)).await.unwrap(), []);
    })
    .await;
    assert_eq!(bodies(&store, id, &cat, Page::Newest { offset: 0, limit: 9 }).await, "g");
}
