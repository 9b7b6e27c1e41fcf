//! Rows read by queries of support sessions, devices, uploads and presence.

use chrono::{TimeDelta, Utc};
use storage::{
    Attachments, ConversationId, DeviceConnection, Devices, Heartbeat, MessageId, MessageSide, PartnerId, Presences, Role,
    Storage, Support, SupportStatus, UploadReference, UploadedFile, Uploads, UserId, postgres::Postgres,
};

use crate::Explained;

/// 50 sessions: conversation, session, and the users of both sides.
const SESSIONS: u32 = 50 * 4 + 10;

pub(crate) async fn sessions_devices_uploads_presence(on: &Explained) {
    let (session, initiator) = (ConversationId(20_850), PartnerId(650));
    on.within(5, "support_session", async |s| s.support_session(session).await).await.unwrap();
    let statuses = [
        ("all", None),
        ("waiting", Some(SupportStatus::Waiting)),
        ("joined", Some(SupportStatus::Joined)),
        ("closed", Some(SupportStatus::Closed)),
    ];
    for (what, status) in statuses {
        // Sessions of each status are adjacent in an index, newest first.
        let most = SESSIONS + 2 * 200;
        let listed = async |s: &Postgres| s.support_sessions(status, 0, 50).await;
        assert_eq!(on.within(most, &format!("{what} sessions"), listed).await.len(), 50, "{what}");
    }
    let unread = async |s: &Postgres| s.support_unread(initiator).await;
    on.within(50 * 3 + 10, "support_unread", unread).await;
    let seen = async |s: &Postgres| s.seen_at(session, &[(1, MessageSide::Initiator)]).await;
    assert_eq!(on.within(3, "seen_at", seen).await.len(), 1);
    let now = Utc::now();
    let touch = async |s: &Postgres| s.touch_support_session(ConversationId(39_950), PartnerId(950), now).await;
    on.within(6, "touch_support_session", touch).await.unwrap();

    let used = DeviceConnection {
        user: UserId(10_700),
        device: "phone",
        connection: "c700",
        at: now,
        expires_at: now + TimeDelta::hours(1),
    };
    on.within(1, "touch_device", async |s| s.touch_device(used).await).await;
    on.within(1, "upload", async |s| s.upload("f700").await).await.unwrap();
    let objects = ["o7", "f7", "of nothing"].map(str::to_owned);
    assert_eq!(on.within(3 * 3, "objects_in_use", async |s| s.objects_in_use(&objects).await).await.len(), 2);
    on.within(2 * 20, "expire_uploads", async |s| s.expire_uploads(now, 10).await).await;
    let people = [PartnerId(7), PartnerId(700), PartnerId(5_999)];
    assert_eq!(on.within(3, "presences", async |s| s.presences(&people).await).await.len(), 3);
    let signs = people.map(|partner| Heartbeat { partner, last_seen: now, there_until: now, idle_from: None });
    on.within(3, "touch_presences", async |s| s.record_heartbeats(&signs).await).await;

    let written = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        tx.connect_device(used).await?;
        let file = UploadedFile {
            object: "o".to_owned(),
            mimetype: String::new(),
            size_bytes: 1,
            width: None,
            height: None,
            put_at: now,
        };
        tx.put_upload("f5001", file).await?;
        let named = [(1, 5_002), (2, 5_003)];
        let named = named.map(|(message, owner)| UploadReference {
            message: MessageId(message),
            author: PartnerId(owner),
            name: format!("f{owner}"),
        });
        tx.reference_uploads(&named).await?;
        tx.mark_seen(&[(session, initiator, 1)], now).await?;
        tx.commit().await
    };
    on.within(12, "what a session writes", written).await;
    let silent = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        Ok(tx.lock_silent_support(now - TimeDelta::hours(1), 100).await?.len())
    };
    // No session is silent. The statement runs once a minute, and reads the open sessions.
    assert_eq!(on.within(2 * 200 + 10, "lock_silent_support", silent).await, 0);
    for (hours, limit, found) in [(-1, 100, 0), (1, 10, 10)] {
        let absent = async |s: &Postgres| {
            let mut tx = s.begin().await?;
            Ok(tx.lock_absent_support(now + TimeDelta::hours(hours), &[Role::Agent], limit).await?.len())
        };
        // Reads the open sessions, and for each joined one the account of its joiner.
        assert_eq!(on.within(2 * 200 + 2 * 100 + 10 * 4 + 10, "lock_absent_support", absent).await, found);
    }
    let joined = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        Ok(tx.lock_joined_support(PartnerId(7)).await?.len())
    };
    // Reads the open sessions, and the rows of the result.
    assert_eq!(on.within(2 * 200 + 100 * 3 + 10, "lock_joined_support", joined).await, 100);
    let open = async |s: &Postgres| {
        let mut tx = s.begin().await?;
        Ok(tx.open_support_sessions(initiator, 3).await?.len())
    };
    // Reads all sessions that the partner has ever begun.
    assert_eq!(on.within(50 * 4 + 10, "open_support", open).await, 0);
    let answering = async |s: &Postgres| s.begin().await?.partners_with_role(&[Role::Agent]).await;
    assert_eq!(on.within(9, "partners_with_role", answering).await.len(), 9);
}
