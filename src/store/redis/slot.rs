//! Hash slots: which keys of a cluster live together.

use crc::{CRC_16_XMODEM, Crc};

use crate::error::{Error, Result};

static CHECKSUM: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// How many slots a cluster has.
pub(super) const SLOTS: usize = 16_384;

/// The slot that all these keys share; for none of them any does.
///
/// # Errors
/// `Invalid` when they lie in several, which no node of a cluster serves in one call.
pub(super) fn of_all(keys: &[String]) -> Result<usize> {
    let Some((first, others)) = keys.split_first() else { return Ok(0) };
    let (tag, slot) = (hashed(first), of(first));
    // Most keys of a call have the same tag, so there is little to hash.
    match others.iter().find(|key| hashed(key) != tag && of(key) != slot) {
        None => Ok(slot),
        Some(other) => Err(Error::invalid(format!(
            "the keys {first} and {other} lie in different slots of the cluster, which one call cannot reach (CROSSSLOT): \
             make the subject with Subject::new, or the service .tagged(), whose keys share a slot"
        ))),
    }
}

pub(super) fn of(key: &str) -> usize {
    usize::from(CHECKSUM.checksum(hashed(key).as_bytes())) % SLOTS
}

/// Short hash tags, one in each sixteenth of the slots.
pub(super) fn spread_tags() -> Vec<String> {
    const PARTS: usize = 16;
    let part_of = |tag: &String| of(tag) / (SLOTS / PARTS);
    (0..PARTS).filter_map(|part| (0_u32..).map(|n| n.to_string()).find(|tag| part_of(tag) == part)).collect()
}

/// The part of a key that decides: what stands in its first braces, unless that is nothing.
fn hashed(key: &str) -> &str {
    let tag = key.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map(|(tag, _)| tag);
    tag.filter(|tag| !tag.is_empty()).unwrap_or(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        // The values that CLUSTER KEYSLOT gives.
        assert_eq!(of("123456789"), 0x31C3);
        assert_eq!(of("foo"), 12_182);
        assert_eq!(of("a{foo}b{bar}"), of("foo"));
        assert_eq!(of("a{}b{foo}"), usize::from(CHECKSUM.checksum(b"a{}b{foo}")) % SLOTS);
        assert_eq!(hashed("a{{x}}"), "{x");
    }

    #[test]
    fn every_sixteenth_of_the_slots_has_a_short_tag() {
        let tags = spread_tags();
        let parts: std::collections::BTreeSet<_> = tags.iter().map(|tag| of(tag) / 1024).collect();
        assert_eq!((tags.len(), parts.len()), (16, 16));
        assert!(tags.iter().all(|tag| tag.len() < 3), "{tags:?}");
    }

    #[test]
    fn keys_of_one_tag_share_a_slot_and_others_are_refused_by_name() {
        let keys = |keys: &[&str]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(of_all(&keys(&["cost:{acme}:a", "cost:{acme}:b"])).unwrap(), of("acme"));
        assert_eq!(of_all(&[]).unwrap(), 0);
        let err = of_all(&keys(&["cost:alice:2026-02-01", "cost:alice:2026-02"])).unwrap_err();
        assert!(err.to_string().contains("CROSSSLOT"), "{err}");
    }
}
