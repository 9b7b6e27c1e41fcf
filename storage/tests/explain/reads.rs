//! Rows read by queries of large conversations, of newcomers, and of users with many conversations.

use chrono::{DateTime, Utc};
use storage::{
    ActorKind, AttachmentId, Attachments, Audit, AuditFilter, ChangeKey, Changes, ConversationId, Conversations, Directory,
    EventLog, InboxFilter, ListSize, MessageId, Messages, Page, PartnerId, Position, Reactions, Reads, Scope, postgres::Postgres,
};

use crate::Explained;

/// 50 messages with their authors' names and users, ten of them with a file, five of them with two reactions, and the
/// read positions of the participants.
const PAGE: u32 = 50 * 3 + 10 * 2 + 5 * 2 + 10;

pub(crate) async fn of_a_long_conversation(on: &Explained) {
    let (of, reader) = (ConversationId(1), PartnerId(2));
    on.within(2, "conversation", async |s| s.conversation(of).await).await.unwrap();
    on.within(6, "conversation_seen_by", async |s| s.conversation_seen_by(of, reader).await).await.unwrap();
    let pages = [
        ("the newest page", Page::Newest { offset: 0, limit: 50 }),
        ("a page in the middle", Page::Newest { offset: 50_000, limit: 50 }),
        ("the oldest page", Page::Newest { offset: 99_950, limit: 50 }),
        ("a page before an id", Page::Before { id: MessageId(50_030), limit: 50 }),
        ("a page after an id", Page::After { id: MessageId(50_030), limit: 50 }),
    ];
    for (what, page) in pages {
        assert_eq!(on.within(PAGE, what, async |s| s.messages(of, reader, page).await).await.len(), 50, "{what}");
    }
    let bytes = async |s: &Postgres| s.newest_bytes(of, reader, 50_000, 50).await;
    assert!(on.within(PAGE, "newest_bytes", bytes).await > 10 * 1_024);
    let files = async |s: &Postgres| s.messages_with_files(of, reader, Some(MessageId(80_000)), 20).await;
    assert_eq!(on.within(20 * 8 + 10, "messages_with_files", files).await.len(), 20);
    on.within(8, "messages_at", async |s| s.messages_at(&[(of, 7), (of, 70_000)]).await).await;
    on.within(8, "messages_by_id", async |s| s.messages_by_id(&[MessageId(7), MessageId(70_000)]).await).await;
    let all = [1, 2, 5, 6, 7, 8].map(|partner| (of, PartnerId(partner)));
    on.within(22, "last_messages", async |s| s.last_messages(&all, reader).await).await;
    on.within(6, "participant_ids", async |s| s.participant_ids(of).await).await;
    on.within(6 * 3 + 2, "participants", async |s| s.participants(of).await).await;
    on.within(8, "attachment_reach", async |s| s.attachment_access(AttachmentId(7), reader).await).await.unwrap();
    on.within(2, "reactions", async |s| s.reactions(MessageId(50_000), reader).await).await;
    on.within(4, "unread_totals", async |s| s.unread_totals(reader).await).await;
    let news = async |s: &Postgres| s.conversations_with_new_messages(reader, Utc::now()).await;
    on.within(4, "conversations_with_news", news).await;

    on.within(7, "members_at", async |s| s.members_at(of, Position(50_000)).await).await;
    for (what, scope) in
        [("everything", Scope::Everything), ("its", Scope::Conversation(of)), ("a reader's", Scope::Partner(reader))]
    {
        let events = async |s: &Postgres| s.events(Position(40_000), scope, 50).await;
        assert_eq!(on.within(60, &format!("{what} events"), events).await.len(), 50, "{what}");
    }
    // Binary search in the event log.
    on.within(50, "position_at", async |s| s.position_at(DateTime::UNIX_EPOCH).await).await;
}

/// Tests that hidden messages are not read.
pub(crate) async fn of_newcomers(on: &Explained) {
    let (of, late, latest) = (ConversationId(1), PartnerId(8), PartnerId(7));
    let newest = |offset| Page::Newest { offset, limit: 50 };
    let before = |id| Page::Before { id: MessageId(id), limit: 50 };
    for (what, reader, page, seen) in [
        ("the newest page", late, newest(0), 50),
        ("the newest page of the latest", latest, newest(0), 50),
        ("the oldest page", late, newest(49_990), 10),
        ("a page beyond", late, newest(60_000), 0),
        ("a page before an id", late, before(99_000), 50),
        ("a page before what is hidden", late, before(50_011), 10),
        ("a page in what is hidden", late, before(40_000), 0),
        ("a page after an id", late, Page::After { id: MessageId(0), limit: 50 }, 50),
        ("a page after an id of the latest", latest, Page::After { id: MessageId(0), limit: 50 }, 50),
    ] {
        let what = format!("{what}, for a newcomer");
        assert_eq!(on.within(PAGE, &what, async |s| s.messages(of, reader, page).await).await.len(), seen, "{what}");
    }
    let files = async |s: &Postgres| s.messages_with_files(of, late, Some(MessageId(50_021)), 20).await;
    assert_eq!(on.within(4 * 8 + 10, "messages_with_files, for a newcomer", files).await.len(), 4);
    let all = [1, 2, 5, 6, 7, 8].map(|partner| (of, PartnerId(partner)));
    on.within(22, "last_messages, for a newcomer", async |s| s.last_messages(&all, latest).await).await;
    let news = async |s: &Postgres| s.conversations_with_new_messages(late, Utc::now()).await;
    on.within(12, "conversations_with_news, for a newcomer", news).await;
    let events = async |s: &Postgres| s.events(Position(40_000), Scope::Partner(late), 50).await;
    assert_eq!(on.within(60, "events, for a newcomer", events).await.len(), 50);
}

pub(crate) async fn of_the_audit_trail(on: &Explained) {
    let newest = async |s: &Postgres| s.audit_entries(AuditFilter::default(), 50).await;
    assert_eq!(on.within(50, "audit_entries", newest).await.len(), 50);
    let of = AuditFilter { actor: Some((ActorKind::User, "10007")), before: Some(15_000) };
    let of = async |s: &Postgres| s.audit_entries(of.clone(), 50).await;
    assert_eq!(on.within(50, "audit_entries of one", of).await.len(), 50);
    let old = async |s: &Postgres| s.forget_audit(Utc::now(), 50).await;
    assert_eq!(on.within(50 * 2, "forget_audit", old).await, 50);
}

/// Tests that totals and lists read each of the user's conversations and nothing else, and that queries of some
/// conversations read only those.
pub(crate) async fn of_a_busy_person(on: &Explained) {
    let busy = PartnerId(3);
    on.within(2 * 10_000 + 10, "unread_totals", async |s| s.unread_totals(busy).await).await;
    let all = async |s: &Postgres| s.inbox(PartnerId(4), InboxFilter::default()).await;
    assert_eq!(on.within(7 * 1_000, "inbox", all).await.len(), 1_000);
    // One index look-up for each conversation, whatever happens elsewhere.
    let events = async |s: &Postgres| s.events(Position(110_000), Scope::Partner(busy), 50).await;
    on.within(2 * 10_000 + 60, "events", events).await;
    let news = async |s: &Postgres| s.conversations_with_new_messages(busy, Utc::now()).await;
    on.within(2 * 10_000 + 10, "conversations_with_news", news).await;
    let three = [ConversationId(11), ConversationId(5_011), ConversationId(9_999)];
    let some = async |s: &Postgres| s.inbox(busy, InboxFilter { only: Some(&three), ..InboxFilter::default() }).await;
    assert_eq!(on.within(3 * 7, "inbox of three", some).await.len(), 3);
    on.within(3 * 6 + 6, "people_in", async |s| s.people_in(&three, busy, 99).await).await;
    let size = async |s: &Postgres| s.list_size(busy, 100, ListSize { conversations: 10_000, people: 20_000 }).await;
    on.within(2 * 10_000 + 20_000, "list_size", size).await;
    on.within(3, "conversation_uuids", async |s| s.conversation_uuids(&three).await).await;

    let other = PartnerId(101);
    for (what, pair) in [("direct_conversation", (busy, other)), ("direct_conversation, the other way", (other, busy))] {
        // The two share 20 conversations.
        let direct = async |s: &Postgres| s.direct_conversation(pair, None).await;
        on.within(20 * 6, what, direct).await.unwrap();
    }
    on.within(20 * 6, "direct_conversations", async |s| s.direct_conversations((busy, other)).await).await;
}

pub(crate) async fn of_a_crowd(on: &Explained) {
    let changed = async |s: &Postgres| s.changes(ConversationId(2), ChangeKey::since(MessageId(0)), 50).await;
    assert_eq!(on.within(5, "changes", changed).await, []);
    let read = async |s: &Postgres| s.read_by_others(ConversationId(2), PartnerId(4_000)).await;
    on.within(8, "read_by_others", read).await;
    let unread = async |s: &Postgres| s.unread_by_others(PartnerId(1_001), 50).await;
    // The partner is in seven more conversations, without a message of its own.
    on.within(30, "unread_by_others", unread).await;
    let (of, member) = (ConversationId(2), PartnerId(4_000));
    on.within(6, "conversation_seen_by", async |s| s.conversation_seen_by(of, member).await).await.unwrap();
    let page = Page::Newest { offset: 0, limit: 50 };
    assert_eq!(on.within(PAGE, "the newest page", async |s| s.messages(of, member, page).await).await.len(), 50);
    on.within(5_010, "participant_ids", async |s| s.participant_ids(of).await).await;
    on.within(3 * 5_000 + 10, "participants", async |s| s.participants(of).await).await;
    // The member, and the first to join.
    assert_eq!(on.within(3 * 100 + 10, "people_in", async |s| s.people_in(&[of], member, 99).await).await.len(), 100);
    let size = async |s: &Postgres| s.list_size(member, 100, ListSize { conversations: 10_000, people: 20_000 }).await;
    assert!(on.within(300, "list_size", size).await.people >= 100);
    on.within(5_010, "members_at", async |s| s.members_at(of, Position(110_050)).await).await;
    on.within(120, "events", async |s| s.events(Position(110_000), Scope::Partner(member), 50).await).await;
}
