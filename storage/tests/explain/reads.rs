use chrono::{DateTime, Utc};
use storage::{
    ConversationId, Conversations, Directory, EventLog, InboxFilter, MessageId, Messages, Page, PartnerId, Position, Scope,
    postgres::Postgres,
};

use crate::Explained;

/// 50 messages with their authors' names and users, ten of them with a file, and how far who has read.
const PAGE: u32 = 50 * 3 + 10 * 2 + 10;

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
    let files = async |s: &Postgres| s.messages_with_files(of, reader, Some(MessageId(80_000)), 20).await;
    assert_eq!(on.within(20 * 8 + 10, "messages_with_files", files).await.len(), 20);
    on.within(8, "messages_at", async |s| s.messages_at(&[(of, 7), (of, 70_000)]).await).await;
    on.within(8, "messages_by_id", async |s| s.messages_by_id(&[MessageId(7), MessageId(70_000)]).await).await;
    on.within(14, "last_messages", async |s| s.last_messages(&[of], reader).await).await;
    on.within(4, "participant_ids", async |s| s.participant_ids(of).await).await;
    on.within(4 * 3 + 2, "participants", async |s| s.participants(of).await).await;
    on.within(4, "unread_totals", async |s| s.unread_totals(reader).await).await;
    let news = async |s: &Postgres| s.conversations_with_news(reader, Utc::now()).await;
    on.within(4, "conversations_with_news", news).await;

    on.within(5, "members_at", async |s| s.members_at(of, Position(50_000)).await).await;
    for (what, scope) in
        [("everything", Scope::Everything), ("its", Scope::Conversation(of)), ("a reader's", Scope::Partner(reader))]
    {
        let events = async |s: &Postgres| s.events(Position(40_000), scope, 50).await;
        assert_eq!(on.within(60, &format!("{what} events"), events).await.len(), 50, "{what}");
    }
    // The log is halved until it is found.
    on.within(50, "position_at", async |s| s.position_at(DateTime::UNIX_EPOCH).await).await;
}

/// What adds up or lists all conversations reads each of them, and nothing else; what is about some reads those.
pub(crate) async fn of_a_busy_person(on: &Explained) {
    let busy = PartnerId(3);
    on.within(2 * 10_000 + 10, "unread_totals", async |s| s.unread_totals(busy).await).await;
    let all = async |s: &Postgres| s.inbox(PartnerId(4), InboxFilter::default()).await;
    assert_eq!(on.within(7 * 1_000, "inbox", all).await.len(), 1_000);
    // One look into each of them, whatever has happened elsewhere.
    let events = async |s: &Postgres| s.events(Position(110_000), Scope::Partner(busy), 50).await;
    on.within(2 * 10_000 + 60, "events", events).await;
    let news = async |s: &Postgres| s.conversations_with_news(busy, Utc::now()).await;
    on.within(2 * 10_000 + 10, "conversations_with_news", news).await;
    let three = [ConversationId(11), ConversationId(5_011), ConversationId(9_999)];
    let some = async |s: &Postgres| s.inbox(busy, InboxFilter { only: Some(&three), ..InboxFilter::default() }).await;
    assert_eq!(on.within(3 * 7, "inbox of three", some).await.len(), 3);
    on.within(3 * 6 + 6, "people_in", async |s| s.people_in(&three).await).await;
    on.within(3, "conversation_uuids", async |s| s.conversation_uuids(&three).await).await;

    let other = PartnerId(101);
    for (what, pair) in [("direct_conversation", (busy, other)), ("direct_conversation, the other way", (other, busy))] {
        // They are in 20 together.
        let direct = async |s: &Postgres| s.direct_conversation(pair, None).await;
        on.within(20 * 6, what, direct).await.unwrap();
    }
    on.within(20 * 6, "direct_conversations", async |s| s.direct_conversations((busy, other)).await).await;
}

pub(crate) async fn of_a_crowd(on: &Explained) {
    let (of, member) = (ConversationId(2), PartnerId(4_000));
    on.within(6, "conversation_seen_by", async |s| s.conversation_seen_by(of, member).await).await.unwrap();
    let page = Page::Newest { offset: 0, limit: 50 };
    assert_eq!(on.within(PAGE, "the newest page", async |s| s.messages(of, member, page).await).await.len(), 50);
    on.within(5_010, "participant_ids", async |s| s.participant_ids(of).await).await;
    on.within(3 * 5_000 + 10, "participants", async |s| s.participants(of).await).await;
    on.within(5_010, "members_at", async |s| s.members_at(of, Position(110_050)).await).await;
    on.within(120, "events", async |s| s.events(Position(110_000), Scope::Partner(member), 50).await).await;
}
