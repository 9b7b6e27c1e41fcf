//! Demo data: fixed, so that the examples in the dialects' documentation hold word for word.

use storage::{
    ConversationId, ConversationKind, Fact, GroupId, NewConversation, NewPartner, NewUser, PartnerId, Role, Storage, ThreadType,
    Topic, UserId,
};
use uuid::Uuid;

use crate::{auth, clock, transaction::transaction};

/// Password of all demo users.
const PASSWORD: &str = "123456";

struct DemoUser {
    uid: i64,
    uuid: Option<&'static str>,
    partner: i64,
    name: &'static str,
    login: &'static str,
    role: Role,
}

const fn demo_user(
    uid: i64,
    uuid: Option<&'static str>,
    partner: i64,
    name: &'static str,
    login: &'static str,
    role: Role,
) -> DemoUser {
    DemoUser { uid, uuid, partner, name, login, role }
}

const DEMO_USERS: [DemoUser; 6] = [
    demo_user(2, Some("75140d72-8b20-4549-885c-20599badb486"), 3, "Admin user", ADMIN, Role::Admin),
    demo_user(4, Some("302e305b-6e73-4f9c-bac7-551a92b106b0"), 5, "John Doe", "john@example.com", Role::User),
    demo_user(6, Some("3fa85f64-5717-4562-b3fc-2c963f66afa6"), 7, "Jane Smith", "jane@example.com", Role::User),
    demo_user(8, Some("87c8b8e2-3efc-4a4a-b667-1f9c0d7e8437"), 9, "Bob Wilson", "bob@example.com", Role::User),
    demo_user(34, None, 35, "Deepak Pandey", TENANT, Role::User),
    demo_user(32314, None, 32315, "Concierge", "concierge@example.com", Role::Agent),
];

const ADMIN: &str = "admin@gmail.com";
const TENANT: &str = "deepak@tis.co.th";

/// Loads the demo data into an empty store. Returns false if the store holds data.
pub async fn load(storage: &dyn Storage) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    if !storage.is_empty().await? {
        return Ok(false);
    }
    let password = auth::hash_password(PASSWORD).await?;
    let now = clock::now();
    let loaded: storage::Result<bool> = transaction(storage, |mut tx| async {
        // Of several nodes that start together, only the first one loads.
        if !tx.mark_demo().await? {
            return Ok(false);
        }
        for somebody in DEMO_USERS {
            tx.insert_user(NewUser {
                id: Some(UserId(somebody.uid)),
                uuid: somebody.uuid.map_or_else(Uuid::new_v4, |uuid| Uuid::parse_str(uuid).expect("the uuids above are valid")),
                login: Some(somebody.login.into()),
                password: Some(password.clone()),
                external_id: Some(somebody.uid.to_string()),
                partner: NewPartner {
                    id: Some(PartnerId(somebody.partner)),
                    name: somebody.name.into(),
                    email: Some(somebody.login.into()),
                    phone: None,
                    mobile: None,
                },
                role: somebody.role,
                language: "en_US".into(),
                time_zone: "UTC".into(),
                profile: profile(somebody.login),
                created_at: now,
            })
            .await?;
        }
        let first_four: Vec<_> = DEMO_USERS[..4].iter().map(|somebody| PartnerId(somebody.partner)).collect();
        let threads = [
            (1, "Chat with John", ConversationKind::Direct, ThreadType::Chat, &first_four[..2]),
            (2, "Team Group", ConversationKind::Group, ThreadType::Group, &first_four[..]),
        ];
        for (id, name, kind, thread_type, participants) in threads {
            let conversation = tx
                .insert_conversation(NewConversation {
                    id: Some(ConversationId(id)),
                    uuid: Uuid::new_v4(),
                    kind,
                    thread_type,
                    name: name.into(),
                    created_at: now,
                    group: None,
                    documents: Vec::new(),
                    external_id: None,
                    participants: participants.to_vec(),
                    owner: participants.first().copied(),
                })
                .await?;
            tx.record(Topic::Conversation(conversation.id), Fact::ConversationCreated(conversation), now);
        }
        let news = tx.insert_group(Some(GroupId(3)), "News").await?;
        let members: Vec<_> = DEMO_USERS[..4].iter().map(|somebody| UserId(somebody.uid)).collect();
        tx.insert_group_members(news.id, &members).await?;
        tx.commit().await?;
        Ok(true)
    })
    .await;
    Ok(loaded?)
}

/// Profile of a demo user, for the examples: the support chat's tenant and the room's administrator.
fn profile(login: &str) -> serde_json::Value {
    match login {
        TENANT => serde_json::from_str(include_str!("demo_tenant.json")).expect("demo_tenant.json is valid JSON"),
        ADMIN => serde_json::json!({
            "gender": "male",
            "country_code": "",
            "phone_number": "admin",
            "is_email_verified": true,
            "is_phone_verified": true,
            "date_of_birth": "2025-03-14",
        }),
        _ => serde_json::json!({}),
    }
}
