use std::collections::{HashMap, HashSet};

use storage::{PartnerId, Person, UserId};

use super::{Chat, Result, storable};

/// What a number means first if it is both a user's id and another partner's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PreferredId {
    User,
    Partner,
}

impl Chat {
    /// The people that these ids, each a user's or a partner's, stand for: in the order asked, everybody once, unknown
    /// ids left out.
    pub async fn people_by_id(&self, ids: &[i64], preferred: PreferredId) -> Result<Vec<Person>> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let users: Vec<_> = ids.iter().copied().map(UserId).collect();
        let partners: Vec<_> = ids.iter().copied().map(PartnerId).collect();
        let of_users = self.visit("people_of_users", self.0.storage.people_of_users(&users)).await?;
        let of_users: HashMap<_, _> = of_users.into_iter().filter_map(|person| Some((person.user?.0, person))).collect();
        let of_partners = self.visit("people", self.0.storage.people(&partners)).await?;
        let of_partners: HashMap<_, _> = of_partners.into_iter().map(|person| (person.partner.id.0, person)).collect();
        let (first, second) = match preferred {
            PreferredId::User => (&of_users, &of_partners),
            PreferredId::Partner => (&of_partners, &of_users),
        };
        let mut named = HashSet::new();
        Ok(ids
            .iter()
            .filter_map(|id| first.get(id).or_else(|| second.get(id)))
            .filter(|person| named.insert(person.partner.id))
            .cloned()
            .collect())
    }

    /// People whose name, email or phone contains `query`, whatever the case, by name.
    pub async fn search_people(&self, query: &str, limit: usize) -> Result<Vec<Person>> {
        storable("query", query)?;
        self.visit("search_people", self.0.storage.search_people(query, limit)).await
    }
}
