//! The names under which barriers stand, and what they are about.

use std::collections::BTreeSet;

use bytes::Bytes;
use larder_core::{Error, ErrorKind, KeyPrefix, Namespace, Result};

use super::Verb;
use crate::policy::pattern::KeyPattern;

/// How many tags a rule over all of them may have.
const TAGS_MAX: usize = 8;
const TAG_BYTES_MAX: usize = 256;

/// Which entries a tag is looked for in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// All of the stack.
    Stack,
    /// Those of the namespace with this prefix; for tags, not those of namespaces nested in it.
    Namespace(KeyPrefix),
}

/// Which entries a barrier is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Target {
    /// All of the stack, or of a namespace and those nested in it.
    Entries(Scope),
    /// Those with a tag.
    Tag(Scope, Box<str>),
    /// Those with every one of these tags: two or more, sorted, each once.
    AllTags(Scope, Box<[Box<str>]>),
    /// Those of a namespace and of those nested in it whose keys match.
    Keys(Scope, KeyPattern),
}

/// What a name is that a barrier stands under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Entries(Verb, Scope),
    Tag(Verb, Scope, Box<str>),
    /// The rules over several tags.
    Rules(Scope),
    /// The rules over keys.
    Keys(Scope),
    /// The epoch of a namespace, which the note says. To entries it is a removal.
    Epoch(Scope),
}

impl Scope {
    pub(crate) fn prefix(&self) -> &[u8] {
        match self {
            Self::Stack => &[],
            Self::Namespace(prefix) => prefix.as_bytes(),
        }
    }

    /// The scope of a namespace's own tags.
    pub(crate) fn of(namespace: &Namespace) -> Self {
        Self::Namespace(KeyPrefix::of(namespace))
    }

    /// Everything under a prefix.
    pub(crate) fn under(prefix: &KeyPrefix) -> Self {
        if prefix.as_bytes().is_empty() { Self::Stack } else { Self::Namespace(prefix.clone()) }
    }

    fn read(prefix: &[u8]) -> Option<Self> {
        if prefix.is_empty() {
            return Some(Self::Stack);
        }
        let namespace = std::str::from_utf8(prefix.strip_suffix(b":")?).ok()?;
        Some(Self::of(&Namespace::new(namespace).ok()?))
    }
}

impl Target {
    /// What covers the target whatever else stands, without knowing it.
    pub(crate) fn at_least(&self) -> Self {
        match self {
            Self::AllTags(scope, tags) => Self::Tag(scope.clone(), tags[0].clone()),
            Self::Keys(scope, _) => Self::Entries(scope.clone()),
            target => target.clone(),
        }
    }

    /// Whether it is about entries with tags.
    pub(crate) fn is_about_tags(&self) -> bool {
        matches!(self, Self::Tag(..) | Self::AllTags(..))
    }

    /// The entries with a tag.
    ///
    /// # Errors
    /// `Rejected` when the tag is empty, longer than 256 bytes, or has control characters.
    pub(crate) fn tag(scope: Scope, tag: &str) -> Result<Self> {
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX || tag.chars().any(char::is_control) {
            let why = "the tag is empty, longer than 256 bytes, or has control characters";
            return Err(Error::new(ErrorKind::Rejected, why));
        }
        Ok(Self::Tag(scope, tag.into()))
    }

    /// The entries with all of these tags. The order does not matter, nor does naming one twice.
    ///
    /// # Errors
    /// `Rejected` when there is no tag or more than 8, or when one cannot be used.
    pub(crate) fn all_tags<T: AsRef<str>>(scope: Scope, tags: &[T]) -> Result<Self> {
        let tags: BTreeSet<&str> = tags.iter().map(AsRef::as_ref).collect();
        for tag in &tags {
            Self::tag(Scope::Stack, tag)?;
        }
        match tags.first() {
            None => Err(Error::new(ErrorKind::Rejected, "there is no tag; name at least one")),
            Some(tag) if tags.len() == 1 => Self::tag(scope, tag),
            Some(_) if tags.len() > TAGS_MAX => {
                let why =
                    format!("there are {} tags; all of at most {TAGS_MAX} can be asked for", tags.len());
                Err(Error::new(ErrorKind::Rejected, why))
            }
            Some(_) => Ok(Self::AllTags(scope, tags.into_iter().map(Into::into).collect())),
        }
    }

    /// The name that a barrier on this stands under.
    pub(crate) fn name(&self, verb: Verb) -> Bytes {
        match self {
            Self::Entries(scope) => entries_name(verb, scope),
            Self::Tag(scope, tag) => tag_name(verb, scope, tag),
            Self::AllTags(scope, _) => rules_name(scope),
            Self::Keys(scope, _) => keys_name(scope),
        }
    }
}

/// A letter, a space, the scope's prefix, and of a tag a space and the tag. No prefix has a space, so no two read the
/// same.
fn put_name(kind: u8, scope: &Scope, tag: Option<&str>) -> Bytes {
    let mut name = vec![kind, b' '];
    name.extend_from_slice(scope.prefix());
    if let Some(tag) = tag {
        name.push(b' ');
        name.extend_from_slice(tag.as_bytes());
    }
    name.into()
}

const RULES: u8 = b'r';
const KEYS: u8 = b'k';
const EPOCH: u8 = b'e';

fn entries_name(verb: Verb, scope: &Scope) -> Bytes {
    let kind = match verb {
        Verb::Remove => b'n',
        Verb::Expire => b'N',
    };
    put_name(kind, scope, None)
}

fn tag_name(verb: Verb, scope: &Scope, tag: &str) -> Bytes {
    let kind = match verb {
        Verb::Remove => b't',
        Verb::Expire => b'T',
    };
    put_name(kind, scope, Some(tag))
}

fn rules_name(scope: &Scope) -> Bytes {
    put_name(RULES, scope, None)
}

fn keys_name(scope: &Scope) -> Bytes {
    put_name(KEYS, scope, None)
}

/// The name that a namespace's epoch stands under.
pub(crate) fn epoch_name(scope: &Scope) -> Bytes {
    put_name(EPOCH, scope, None)
}

/// What the names of a tag in a scope have in common, whatever the verb.
pub(crate) fn tag_text(scope: &Scope, tag: &str) -> Bytes {
    tag_name(Verb::Remove, scope, tag).slice(2..)
}

/// What a key reads behind the prefix of a name that it falls under and that has no tag.
pub(super) fn text_under<'k>(name: &[u8], key: &'k [u8]) -> &'k [u8] {
    name.get(2..).and_then(|prefix| key.strip_prefix(prefix)).unwrap_or(key)
}

impl Name {
    /// Reads a name. `None` when no barrier of this release stands under it.
    pub(crate) fn read(name: &[u8]) -> Option<Self> {
        let (&[kind, b' '], rest) = name.split_first_chunk()? else { return None };
        let verb = if kind.is_ascii_lowercase() { Verb::Remove } else { Verb::Expire };
        match kind {
            b'n' | b'N' => Scope::read(rest).map(|scope| Self::Entries(verb, scope)),
            RULES => Scope::read(rest).map(Self::Rules),
            KEYS => Scope::read(rest).map(Self::Keys),
            EPOCH => Scope::read(rest).map(Self::Epoch),
            b't' | b'T' => {
                let space = rest.iter().position(|&byte| byte == b' ')?;
                let tag = std::str::from_utf8(&rest[space + 1..]).ok()?;
                let target = Target::tag(Scope::read(&rest[..space])?, tag).ok()?;
                let Target::Tag(scope, tag) = target else { return None };
                Some(Self::Tag(verb, scope, tag))
            }
            _ => None,
        }
    }
}

/// The names that the entries of a namespace fall under, made once.
#[derive(Clone, Debug)]
pub(crate) struct NamespaceNames {
    scopes: [Scope; 2],
    entries: Vec<Bytes>,
    rules: [Bytes; 2],
}

impl NamespaceNames {
    /// `has_epoch`: the namespace's own may be raised.
    pub(crate) fn of(namespace: &Namespace, has_epoch: bool) -> Self {
        let within = namespace.as_str().match_indices(':').map(|(end, _)| &namespace.as_str()[..end]);
        let covering = within.filter_map(|outer| Namespace::new(outer).ok()).map(|outer| Scope::of(&outer));
        let own = Scope::of(namespace);
        let chain = [Scope::Stack].into_iter().chain(covering).chain([own.clone()]);
        let all = |scope: Scope| {
            [entries_name(Verb::Remove, &scope), entries_name(Verb::Expire, &scope), keys_name(&scope)]
        };
        let epoch = has_epoch.then(|| epoch_name(&own));
        let scopes = [Scope::Stack, own];
        let rules = [rules_name(&scopes[0]), rules_name(&scopes[1])];
        Self { entries: chain.flat_map(all).chain(epoch).collect(), rules, scopes }
    }

    /// In which scopes a tag of an entry is looked for.
    pub(crate) fn scopes(&self) -> &[Scope; 2] {
        &self.scopes
    }

    /// Every name that an entry with these tags falls under, each once.
    pub(super) fn each(&self, tags: &[Box<str>], mut visit: impl FnMut(&Bytes)) {
        self.entries.iter().for_each(&mut visit);
        if tags.is_empty() {
            return;
        }
        self.rules.iter().for_each(&mut visit);
        for (at, tag) in tags.iter().enumerate() {
            if tags[..at].contains(tag) {
                continue;
            }
            for scope in &self.scopes {
                visit(&tag_name(Verb::Remove, scope, tag));
                visit(&tag_name(Verb::Expire, scope, tag));
            }
        }
    }
}
