//! Tests of users and partners: ids, logins, external ids, passwords and people search.

use std::sync::Arc;

use storage::{NewPartner, NewUser, Partner, PartnerId, PasswordHash, Person, Role, Storage, User, UserChange, UserId};
use uuid::Uuid;

use crate::people::{at, conflict, new_partner, new_user, users, write};

on_every_backend!(
    a_user_comes_back_as_it_was_stored,
    uids_and_partner_ids_come_from_one_sequence,
    explicit_ids_move_the_sequence,
    a_login_is_taken_once,
    a_uuid_is_taken_once,
    users_are_listed_by_uid,
    people_are_found_by_their_ids,
    a_user_changes_only_as_asked,
    an_external_id_is_taken_once,
    external_ids_are_compared_byte_by_byte,
    an_external_id_may_come_later,
    kinds_of_passwords_are_told_apart_by_algorithm_and_parameters,
    an_account_needs_no_login,
    moderators_are_made_and_unmade,
    search_looks_at_name_email_and_phone,
    search_ignores_case,
    search_folds_as_unicode_does,
    search_takes_every_character_for_itself,
    search_orders_by_name_then_id,
    search_passes_over_deactivated_users,
);

async fn a_user_comes_back_as_it_was_stored(store: Arc<dyn Storage>) {
    let new = NewUser {
        id: None,
        uuid: Uuid::from_u128(7),
        login: Some("ann@example.com".to_owned()),
        password: Some(PasswordHash("pbkdf2_sha256$1$a$b".to_owned())),
        external_id: Some("a-7".to_owned()),
        partner: NewPartner {
            id: None,
            name: "Ann Ünïcode 안 🦀".to_owned(),
            email: Some("ann@example.com".to_owned()),
            phone: Some("+66 2".to_owned()),
            mobile: Some(String::new()),
        },
        role: Role::Agent,
        language: "th_TH".to_owned(),
        time_zone: "Asia/Bangkok".to_owned(),
        profile: serde_json::json!({"residentProfile": {"unit": "12/3"}, "tags": [1, 2.5, null, true]}),
        created_at: at(5),
    };
    let stored = write(&store, async |tx| tx.insert_user(new.clone()).await.unwrap()).await;
    let NewPartner { name, email, phone, mobile, .. } = new.partner;
    let expected = User {
        id: stored.id,
        uuid: new.uuid,
        login: new.login,
        password: new.password,
        partner: Partner { id: stored.partner.id, name, email, phone, mobile },
        role: new.role,
        active: true,
        language: new.language,
        time_zone: new.time_zone,
        profile: new.profile,
        created_at: new.created_at,
        external_id: new.external_id,
        can_moderate: false,
        picture_url: None,
        claims_as_of: None,
        tokens_not_before: None,
        banned_until: None,
        muted_until: None,
        erased_at: None,
    };
    assert_eq!(stored, expected);
    assert_eq!(store.user(stored.id).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.user_by_uuid(Uuid::from_u128(7)).await.unwrap(), Some(expected.clone()));
    assert_eq!(store.user_by_uuid(Uuid::from_u128(8)).await.unwrap(), None);
    assert_eq!(store.user_by_external_id("a-7").await.unwrap(), Some(expected.clone()));
    assert_eq!(store.user_by_login("ann@example.com").await.unwrap(), Some(expected));
    assert_eq!(store.user_by_login("Ann@example.com").await.unwrap(), None);
    assert_eq!(store.user(UserId(stored.id.0 + 1000)).await.unwrap(), None);
}

async fn uids_and_partner_ids_come_from_one_sequence(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let company = write(&store, async |tx| tx.insert_partner(new_partner("Company")).await.unwrap()).await;
    let ids = [ann.id.0, ann.partner.id.0, ben.id.0, ben.partner.id.0, company.id.0];
    assert!(ids.is_sorted_by(|a, b| a < b), "{ids:?}");
}

async fn explicit_ids_move_the_sequence(store: Arc<dyn Storage>) {
    let with_ids = |name, uid, partner| {
        let mut new = new_user(name);
        new.id = Some(UserId(uid));
        new.partner.id = Some(PartnerId(partner));
        new
    };
    let next = write(&store, async |tx| {
        let user = tx.insert_user(with_ids("high", 80, 90)).await.unwrap();
        assert_eq!((user.id, user.partner.id), (UserId(80), PartnerId(90)));
        // Smaller explicit ids leave the sequence as it is.
        tx.insert_user(with_ids("low", 4, 5)).await.unwrap();
        let company = tx.insert_partner(NewPartner { id: Some(PartnerId(100)), ..new_partner("Company") }).await.unwrap();
        assert_eq!(company.id, PartnerId(100));
        tx.insert_user(new_user("next")).await.unwrap()
    })
    .await;
    assert!(next.id.0 > 100, "{}", next.id);
    assert!(next.partner.id.0 > next.id.0);
}

async fn a_login_is_taken_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_user(new_user("ann")).await), "users_login");
    drop(tx);
    assert_eq!(store.users(None, 10).await.unwrap(), [ann]);
    users(&store, ["Ann"]).await;
}

async fn a_uuid_is_taken_once(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_user(NewUser { uuid: ann.uuid, ..new_user("ben") }).await), "users_uuid");
}

fn external(name: &str, id: &str) -> NewUser {
    NewUser { external_id: Some(id.to_owned()), ..new_user(name) }
}

async fn an_external_id_is_taken_once(store: Arc<dyn Storage>) {
    let ann = write(&store, async |tx| tx.insert_user(external("ann", "7")).await.unwrap()).await;
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.insert_user(external("ben", "7")).await), "users_external_id");
    drop(tx);
    // Any number of users may have no external id.
    users(&store, ["ben", "cat"]).await;
    assert_eq!(store.user_by_external_id("7").await.unwrap(), Some(ann));
    assert_eq!(store.user_by_external_id("").await.unwrap(), None);
}

async fn external_ids_are_compared_byte_by_byte(store: Arc<dyn Storage>) {
    let ids = ["e\u{301}", "\u{e9}", "E\u{301}", "a", "A", "a ", "ａ"];
    for (name, id) in ["1", "2", "3", "4", "5", "6", "7"].into_iter().zip(ids) {
        write(&store, async |tx| tx.insert_user(external(name, id)).await.unwrap()).await;
    }
    for (name, id) in ["1", "2", "3", "4", "5", "6", "7"].into_iter().zip(ids) {
        let found = store.user_by_external_id(id).await.unwrap().unwrap();
        assert_eq!((found.login_text(), found.external_id.as_deref()), (name, Some(id)));
    }
    assert_eq!(store.user_by_external_id(" a").await.unwrap(), None);
}

async fn an_external_id_may_come_later(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let give = |id: &str| UserChange { external_id: Some(Some(id.to_owned())), ..UserChange::default() };
    let found = async |id: &str| store.user_by_external_id(id).await.unwrap().map(|user| user.id);
    for id in ["7", "8", "8"] {
        let changed = write(&store, async |tx| tx.update_user(ann.id, give(id)).await.unwrap()).await;
        assert_eq!(changed, Some(User { external_id: Some(id.to_owned()), ..ann.clone() }));
        assert_eq!(store.user(ann.id).await.unwrap(), changed);
    }
    assert_eq!((found("7").await, found("8").await), (None, Some(ann.id)));
    let mut tx = store.begin().await.unwrap();
    assert_eq!(conflict(tx.update_user(ben.id, give("8")).await), "users_external_id");
    drop(tx);
    write(&store, async |tx| tx.update_user(ben.id, give("7")).await.unwrap()).await;
    write(&store, async |tx| tx.update_user(ben.id, UserChange::default()).await.unwrap()).await;
    assert_eq!((found("7").await, found("8").await), (Some(ben.id), Some(ann.id)));
    let take = || UserChange { external_id: Some(None), ..UserChange::default() };
    let changed = write(&store, async |tx| tx.update_user(ann.id, take()).await.unwrap()).await;
    assert_eq!((changed, found("8").await), (Some(ann), None));
    assert!(store.has_external_ids().await.unwrap());
    write(&store, async |tx| tx.update_user(ben.id, take()).await.unwrap()).await;
    assert!(!store.has_external_ids().await.unwrap());
}

/// Tests the password kinds: those of users who may log in, without salt and hash.
async fn kinds_of_passwords_are_told_apart_by_algorithm_and_parameters(store: Arc<dyn Storage>) {
    assert_eq!(store.password_kinds(10).await.unwrap(), [""; 0]);
    let hashes = [
        "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA",
        "$argon2id$v=19$m=19456,t=2,p=1$b3RoZXI$b3RoZXI",
        "$pbkdf2-sha512$600000$c2FsdA$aGFzaA",
        "pbkdf2_sha256$1000$seasalt$aGFzaA=",
        "$2b$12$r2ZToELUG5XBpGi3vnZadOTRJQCyEruYdaA8VfoITqf.bMsvKMmfa",
        "$2b$",
        "$2b",
        "a$b$c",
        "a$b",
        "no hash",
        "",
    ];
    for (n, hash) in hashes.into_iter().enumerate() {
        let new = NewUser { password: Some(PasswordHash(hash.to_owned())), ..new_user(&n.to_string()) };
        write(&store, async |tx| tx.insert_user(new).await.unwrap()).await;
    }
    let gone = NewUser { password: Some(PasswordHash("$2b$31$gone".to_owned())), ..new_user("gone") };
    write(&store, async |tx| {
        let gone = tx.insert_user(gone).await.unwrap();
        tx.insert_user(NewUser { password: None, ..new_user("none") }).await.unwrap();
        tx.update_user(gone.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap();
    })
    .await;
    let mut kinds = store.password_kinds(100).await.unwrap();
    kinds.sort();
    assert_eq!(kinds, ["$2b", "$2b$12", "$argon2id$v=19$m=19456,t=2,p=1", "$pbkdf2-sha512$600000", "a", "pbkdf2_sha256$1000"]);
    assert_eq!(store.password_kinds(2).await.unwrap().len(), 2);
}

async fn an_account_needs_no_login(store: Arc<dyn Storage>) {
    let bare = || NewUser { login: None, password: None, ..new_user("somebody") };
    let [one, two] =
        write(&store, async |tx| [tx.insert_user(bare()).await.unwrap(), tx.insert_user(bare()).await.unwrap()]).await;
    assert_eq!((&one.login, &one.password, one.login_text()), (&None, &None, ""));
    assert_eq!(store.user(one.id).await.unwrap(), Some(one.clone()));
    assert_eq!(store.user_by_login("").await.unwrap(), None);
    assert_eq!(store.users(None, 10).await.unwrap(), [one.clone(), two]);
    let password = Some(PasswordHash("new".to_owned()));
    let change = UserChange { password: password.clone(), ..UserChange::default() };
    let changed = write(&store, async |tx| tx.update_user(one.id, change).await.unwrap()).await;
    assert_eq!(changed, Some(User { password, ..one }));
}

async fn moderators_are_made_and_unmade(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    assert!(!ann.can_moderate);
    for (change, can_moderate) in [(Some(true), true), (None, true), (Some(false), false)] {
        let change = UserChange { can_moderate: change, ..UserChange::default() };
        let changed = write(&store, async |tx| tx.update_user(ann.id, change).await.unwrap()).await;
        assert_eq!(changed, Some(User { can_moderate, ..ann.clone() }));
        assert_eq!(store.user(ann.id).await.unwrap(), changed);
    }
    assert_eq!(store.user(ben.id).await.unwrap(), Some(ben));
}

async fn users_are_listed_by_uid(store: Arc<dyn Storage>) {
    let all = users(&store, ["d", "c", "b", "a"]).await;
    write(&store, async |tx| {
        tx.update_user(all[1].id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap()
    })
    .await;
    let uids = async |after, limit| store.users(after, limit).await.unwrap().into_iter().map(|user| user.id).collect::<Vec<_>>();
    let expected = all.map(|user| user.id);
    assert_eq!(uids(None, 10).await, expected);
    assert_eq!(uids(None, 3).await, expected[..3]);
    assert_eq!(uids(Some(expected[2]), 3).await, expected[3..]);
    assert_eq!(uids(Some(expected[3]), 3).await, []);
}

async fn people_are_found_by_their_ids(store: Arc<dyn Storage>) {
    let [ann, ben] = users(&store, ["ann", "ben"]).await;
    let company = write(&store, async |tx| tx.insert_partner(new_partner("Company")).await.unwrap()).await;
    let nobody = 1_000_000;
    let mut people = store.people(&[company.id, PartnerId(nobody), ann.partner.id]).await.unwrap();
    people.sort_by_key(|person| person.partner.id);
    assert_eq!(people, [ann.person(), Person { partner: company, user: None }]);
    let mut people = store.people_of_users(&[ben.id, UserId(nobody), ann.id]).await.unwrap();
    people.sort_by_key(|person| person.user);
    assert_eq!(people, [ann.person(), ben.person()]);
    assert_eq!(store.people(&[]).await.unwrap(), []);
}

async fn a_user_changes_only_as_asked(store: Arc<dyn Storage>) {
    let [mut ann, ben] = users(&store, ["ann", "ben"]).await;
    let change = async |change: UserChange| write(&store, async |tx| tx.update_user(ann.id, change).await.unwrap()).await;

    assert_eq!(change(UserChange::default()).await, Some(ann.clone()));
    let password = PasswordHash("another".to_owned());
    let changed = change(UserChange { password: Some(password.clone()), ..UserChange::default() }).await;
    ann.password = Some(password);
    assert_eq!(changed, Some(ann.clone()));
    let changed = write(&store, async |tx| {
        tx.update_user(ann.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap()
    })
    .await;
    ann.active = false;
    assert_eq!(changed, Some(ann.clone()));
    assert_eq!(store.user(ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.search_people("ann", 9).await.unwrap(), []);
    ann.active = true;
    assert_eq!(change(UserChange { active: Some(true), ..UserChange::default() }).await, Some(ann.clone()));
    assert_eq!(store.user(ann.id).await.unwrap(), Some(ann.clone()));
    assert_eq!(store.search_people("ann", 9).await.unwrap(), [ann.person()]);
    assert_eq!(store.user(ben.id).await.unwrap(), Some(ben));

    let nobody = write(&store, async |tx| {
        tx.update_user(UserId(1_000_000), UserChange { active: Some(false), ..UserChange::default() }).await.unwrap()
    });
    assert_eq!(nobody.await, None);
}

async fn found(store: &Arc<dyn Storage>, query: &str) -> Vec<String> {
    store.search_people(query, 100).await.unwrap().into_iter().map(|person| person.partner.name).collect()
}

async fn partners(store: &Arc<dyn Storage>, new: impl IntoIterator<Item = NewPartner>) {
    write(store, async |tx| {
        for partner in new {
            tx.insert_partner(partner).await.unwrap();
        }
    })
    .await;
}

async fn search_looks_at_name_email_and_phone(store: Arc<dyn Storage>) {
    let [ann] = users(&store, ["ann"]).await;
    let email = Some("one@example.com".to_owned());
    let phone = Some("+66 81 234".to_owned());
    partners(&store, [NewPartner { email, ..new_partner("mailed") }, NewPartner { phone, ..new_partner("called") }]).await;
    assert_eq!(found(&store, "ile").await, ["mailed"]);
    assert_eq!(found(&store, "@example").await, ["mailed"]);
    assert_eq!(found(&store, "81 2").await, ["called"]);
    assert_eq!(found(&store, "nothing of the kind").await, [""; 0]);
    assert_eq!(found(&store, "").await, ["ann", "called", "mailed"]);
    assert_eq!(store.search_people("ann", 10).await.unwrap(), [ann.person()]);
}

async fn search_ignores_case(store: Arc<dyn Storage>) {
    partners(&store, ["Jane Smith", "Éva Ågren"].map(new_partner)).await;
    assert_eq!(found(&store, "JANE").await, ["Jane Smith"]);
    assert_eq!(found(&store, "jane s").await, ["Jane Smith"]);
    assert_eq!(found(&store, "éVA å").await, ["Éva Ågren"]);
}

/// Tests case folding of composed and decomposed characters, and of the dotless i.
async fn search_folds_as_unicode_does(store: Arc<dyn Storage>) {
    partners(&store, ["Jose\u{301} Mac", "José Windows", "İbrahim Işık", "Straße"].map(new_partner)).await;
    for (query, names) in [
        ("JOSÉ", vec!["José Windows", "Jose\u{301} Mac"]),
        ("jose\u{301} w", vec!["José Windows"]),
        ("ışık", vec!["İbrahim Işık"]),
        ("IBRAHIM IŞIK", vec!["İbrahim Işık"]),
        ("STRASSE", vec!["Straße"]),
        ("mac\u{1e}", vec![]),
    ] {
        let mut found = found(&store, query).await;
        found.sort_unstable();
        let mut names = names;
        names.sort_unstable();
        assert_eq!(found, names, "{query}");
    }
    assert_eq!(store.fold_people(10).await.unwrap(), 0, "nothing is left to be folded");
}

async fn search_takes_every_character_for_itself(store: Arc<dyn Storage>) {
    partners(&store, ["100%", "a_b", r"back\slash", "it's", "plain"].map(new_partner)).await;
    for (query, name) in [("%", "100%"), ("_", "a_b"), (r"\", r"back\slash"), ("'", "it's")] {
        assert_eq!(found(&store, query).await, [name], "{query}");
    }
}

async fn search_orders_by_name_then_id(store: Arc<dyn Storage>) {
    partners(&store, ["b same", "b same", "c", "a"].map(new_partner)).await;
    let all = store.search_people("", 100).await.unwrap();
    assert!(all.is_sorted_by_key(|person| (person.partner.name.clone(), person.partner.id)));
    assert_eq!(all.len(), 4);
    assert_eq!(store.search_people("", 2).await.unwrap(), all[..2]);
}

async fn search_passes_over_deactivated_users(store: Arc<dyn Storage>) {
    let [gone, _] = users(&store, ["some one", "some other"]).await;
    partners(&store, [new_partner("some company")]).await;
    write(&store, async |tx| tx.update_user(gone.id, UserChange { active: Some(false), ..UserChange::default() }).await.unwrap())
        .await;
    assert_eq!(found(&store, "some").await, ["some company", "some other"]);
}
