//! Which setting needs which, from the declarations alone: order, rings, reach and taint.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::spec::{Kind, Settings, SourceSpec};
use crate::order::Order;

/// The declared settings and what each is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Graph {
    /// The names that a setting's `default` or `value` uses; declared ones only.
    needs: BTreeMap<String, Vec<String>>,
    /// Secret by declaration, or derived from one that is.
    tainted: BTreeSet<String>,
    /// Known before the secret is read.
    early: BTreeSet<String>,
}

impl Graph {
    /// The graph of a declaration.
    pub fn of(settings: &Settings) -> Self {
        let needs: BTreeMap<String, Vec<String>> = settings
            .keys
            .iter()
            .map(|(name, key)| {
                let text = match key.kind() {
                    Some(Kind::Default(text) | Kind::Value(text)) => Some(text),
                    Some(Kind::Required) | None => None,
                };
                let mut names: Vec<String> = text
                    .into_iter()
                    .flat_map(|text| text.template.names().map(|(name, _)| name.to_owned()))
                    .filter(|name| settings.keys.contains_key(name))
                    .collect();
                names.dedup();
                (name.clone(), names)
            })
            .collect();
        let secret = settings
            .keys
            .iter()
            .filter(|(_, key)| key.secret == Some(true))
            .map(|(name, _)| name.clone());
        let mut tainted: BTreeSet<String> = secret.collect();
        let declassified = |name: &str| settings.keys[name].secret == Some(false);
        grow(&mut tainted, &needs, |name, needs, set| {
            !declassified(name) && needs.iter().any(|need| set.contains(need))
        });
        let open_source = settings
            .sources
            .iter()
            .any(|source| !matches!(source, SourceSpec::Secret(_)));
        let mut early = BTreeSet::new();
        grow(&mut early, &needs, |name, needs, set| {
            let derived = || needs.iter().all(|need| set.contains(need));
            match settings.keys[name].kind() {
                Some(Kind::Required) | None => open_source,
                Some(Kind::Default(_)) => open_source || derived(),
                Some(Kind::Value(_)) => derived(),
            }
        });
        Self {
            needs,
            tainted,
            early,
        }
    }

    /// The names that a setting's own text uses.
    pub fn needs(&self, name: &str) -> &[String] {
        self.needs.get(name).map_or(&[], Vec::as_slice)
    }

    /// Whether a setting is secret, or derived from one that is.
    pub fn is_tainted(&self, name: &str) -> bool {
        self.tainted.contains(name)
    }

    /// Whether a setting can be known before the secret is read.
    pub fn is_early(&self, name: &str) -> bool {
        self.early.contains(name)
    }

    /// `names` and everything that they are made of.
    pub fn reach<'a>(&self, names: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
        let mut reached = BTreeSet::new();
        let mut open: Vec<String> = names.into_iter().map(str::to_owned).collect();
        while let Some(name) = open.pop() {
            if self.needs.contains_key(&name) && reached.insert(name.clone()) {
                open.extend(self.needs(&name).iter().cloned());
            }
        }
        reached
    }

    /// Every ring of settings that are made of one another, no setting in two of them, its smallest name first.
    pub fn rings(&self) -> Vec<Vec<String>> {
        let names = self.needs.keys().map(String::as_str);
        let edges = self
            .needs
            .iter()
            .flat_map(|(name, needs)| needs.iter().map(move |need| (name.as_str(), need.as_str())));
        match Order::new(names, edges) {
            Ok(_) => Vec::new(),
            Err(rings) => rings
                .into_iter()
                .map(|ring| ring.0.into_iter().map(str::to_owned).collect())
                .collect(),
        }
    }

    /// `wanted` in an order in which each comes after what it is made of; rings are left out.
    pub fn order(&self, wanted: &BTreeSet<String>) -> Vec<String> {
        let mut placed = BTreeSet::new();
        let mut order = Vec::new();
        grow(&mut placed, &self.needs, |name, needs, set| {
            let now = wanted.contains(name) && needs.iter().all(|need| set.contains(need));
            if now {
                order.push(name.to_owned());
            }
            now
        });
        order
    }
}

/// Adds names to `set` until the rule adds none. A name is asked for again only when something that it is made of was
/// added: the rules look at nothing else.
fn grow(
    set: &mut BTreeSet<String>,
    needs: &BTreeMap<String, Vec<String>>,
    mut rule: impl FnMut(&str, &[String], &BTreeSet<String>) -> bool,
) {
    let mut users: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (name, needs) in needs {
        for need in needs {
            users.entry(need).or_default().push(name);
        }
    }
    let mut open: VecDeque<&str> = needs.keys().map(String::as_str).collect();
    while let Some(name) = open.pop_front() {
        let Some(own) = needs.get(name) else { continue };
        if !set.contains(name) && rule(name, own, set) {
            set.insert(name.to_owned());
            open.extend(users.get(name).into_iter().flatten());
        }
    }
}
