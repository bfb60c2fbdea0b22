//! Whom limits count against.

use std::fmt;
use std::sync::Arc;

use super::text;
use crate::error::{Error, Result};

/// The kind of scope that every subject has: limits on it count all requests under one root together.
pub const GLOBAL: &str = "global";

/// Whom a limit counts against: `user:alice`, `org:acme`, `global`. As it stands in keys, encoded.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Scope {
    text: Arc<str>,
    kind_len: usize,
}

impl Scope {
    pub(crate) fn new(kind: &str, id: &str) -> Result<Self> {
        text::check_kind(kind)?;
        if kind == GLOBAL {
            return Err(Error::invalid(
                "every subject has the scope `global`, without an id; name this kind otherwise",
            ));
        }
        let id = text::encode(&format!("{kind} id"), id)?;
        Ok(Self { kind_len: kind.len(), text: format!("{kind}:{id}").into() })
    }

    /// A scope as it stands in a reply of the store.
    pub(crate) fn of_key(text: &str) -> Self {
        Self { kind_len: text.find(':').unwrap_or(text.len()), text: text.into() }
    }

    pub(crate) fn global() -> Self {
        Self { kind_len: GLOBAL.len(), text: GLOBAL.into() }
    }

    /// The kind: `user`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.text[..self.kind_len]
    }

    /// The id, empty for `global`. Encoded as it stands in keys.
    #[must_use]
    pub fn id(&self) -> &str {
        self.text.get(self.kind_len + 1..).unwrap_or_default()
    }

    /// Kind and id: `user:alice`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The scopes of one request, and the root whose keys they share.
///
/// The root is the hash tag of every key, `cost:{acme}:user:alice:2026-02`, so one script can touch them all on a Cluster
/// too. Budgets are per root: the same user under two roots has two. Choose what you bill: the organisation, or the user
/// where there is none.
///
/// ```
/// use costguard::Subject;
///
/// let subject = Subject::new("acme").scope("org", "acme").scope("user", "alice");
/// ```
///
/// Ids come from strangers. What could reach into another key is percent-encoded, and an id that is empty or longer than
/// 200 bytes makes every operation on the subject an `Invalid` error.
#[derive(Clone, Debug)]
pub struct Subject {
    layout: Layout,
    scopes: Vec<Scope>,
    // A builder that can be written in one line: what is wrong with it is said where it is used.
    error: Option<Error>,
}

#[derive(Clone, Debug)]
enum Layout {
    /// `{prefix}{meter}:{{root}}:{scope}:{window}`
    Tagged { root: String },
    /// `{prefix}{meter}:{scope id}:{window}`
    Plain,
}

impl Subject {
    /// A subject under a root, with the scope `global` only.
    #[must_use]
    pub fn new(root: &str) -> Self {
        let (root, error) = split(text::encode("root", root));
        Self { layout: Layout::Tagged { root: root.unwrap_or_default() }, scopes: Vec::new(), error }
    }

    /// A subject of one scope whose keys have no hash tag and no kind: `cost:user_abc:2026-02-01`.
    ///
    /// The layout that daily counters commonly have. On a Cluster its keys lie in different slots, so there it serves
    /// one counter a request and no operation ids.
    #[must_use]
    pub fn plain(kind: &str, id: &str) -> Self {
        Self { layout: Layout::Plain, scopes: Vec::new(), error: None }.scope(kind, id)
    }

    /// And one scope more: a kind the policy names, and the id it has in this request.
    #[must_use]
    pub fn scope(mut self, kind: &str, id: &str) -> Self {
        let added = Scope::new(kind, id).and_then(|scope| {
            if self.scopes.iter().any(|known| known.kind() == scope.kind()) {
                return Err(Error::invalid(format!("the subject has two scopes of kind `{kind}`; give it one")));
            }
            if matches!(self.layout, Layout::Plain) && !self.scopes.is_empty() {
                return Err(Error::invalid("a plain subject has one scope; use Subject::new for more"));
            }
            Ok(scope)
        });
        let (scope, error) = split(added);
        self.scopes.extend(scope);
        self.error = self.error.or(error);
        self
    }

    /// The scope of a kind.
    ///
    /// # Errors
    /// `Invalid` when the subject has none, or was built from an id that is none.
    pub fn scope_of(&self, kind: &str) -> Result<Scope> {
        self.check()?;
        if let Some(scope) = self.scopes.iter().find(|scope| scope.kind() == kind) {
            return Ok(scope.clone());
        }
        match self.layout {
            Layout::Tagged { .. } if kind == GLOBAL => Ok(Scope::global()),
            _ => {
                let known: Vec<_> = self.scopes.iter().map(Scope::kind).collect();
                Err(Error::invalid(format!(
                    "a limit counts against scope `{kind}`, but the subject has [{}]; add .scope(\"{kind}\", id)",
                    known.join(", ")
                )))
            }
        }
    }

    /// What stands between the meter and the window in the key of a counter of `scope`.
    pub(crate) fn write_scope(&self, scope: &Scope, key: &mut String) {
        match &self.layout {
            Layout::Tagged { root } => key.extend([":{", root, "}:", scope.as_str(), ":"]),
            Layout::Plain => key.extend([":", scope.id(), ":"]),
        }
    }

    /// The key of the receipt of an operation: in the slot of its counters.
    pub(crate) fn receipt_key(&self, prefix: &str, id: &str) -> Result<String> {
        self.check()?;
        Ok([&self.own_key(prefix, "receipt"), ":", &text::encode("operation id", id)?].concat())
    }

    /// The key of a hold's record: in the slot of its counters.
    pub(crate) fn hold_key(&self, prefix: &str, id: &str) -> Result<String> {
        self.check()?;
        Ok(self.hold_keys(prefix)? + &text::encode("hold id", id)?)
    }

    /// What the keys of this subject's holds begin with.
    pub(crate) fn hold_keys(&self, prefix: &str) -> Result<String> {
        self.check()?;
        Ok(self.own_key(prefix, "hold") + ":")
    }

    /// The key of something that a root has one of: its rules, and beginnings of keys that end with an id.
    pub(crate) fn own_key(&self, prefix: &str, what: &str) -> String {
        match &self.layout {
            Layout::Tagged { root } => [prefix, what, ":{", root, "}"].concat(),
            Layout::Plain => [prefix, what, ":", self.scopes.first().map_or("", Scope::id)].concat(),
        }
    }

    /// Every scope, `global` too where the subject has it.
    pub(crate) fn all_scopes(&self) -> impl Iterator<Item = Scope> {
        let global = matches!(self.layout, Layout::Tagged { .. }).then(Scope::global);
        self.scopes.iter().cloned().chain(global)
    }

    /// Whether it was built from ids that are some.
    pub(crate) fn check(&self) -> Result<()> {
        self.error.clone().map_or(Ok(()), Err)
    }
}

fn split<T>(result: Result<T>) -> (Option<T>, Option<Error>) {
    match result {
        Ok(value) => (Some(value), None),
        Err(error) => (None, Some(error)),
    }
}
