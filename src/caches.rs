//! How much the caches hold: from what size on results are better written past them.

use core::sync::atomic::{AtomicUsize, Ordering};

/// Results of fewer bytes stay in the caches of any processor: it need not even be asked.
const LEAST: usize = 1 << 20;

/// Of the last-level cache, in second-level ones. A choice: where it is another, `Engine::stream_from` says so.
const SHARE: usize = 12;

/// Where the processor does not say what it has.
const UNKNOWN: usize = 16 << 20;

/// Whether nothing is left in the caches, by the end, of what results of so many bytes begin with.
#[inline]
pub fn are_exceeded_by(bytes: usize) -> bool {
    bytes >= LEAST && bytes >= limit()
}

/// The last-level cache; or so many times the second-level one where that is less, as the last one is shared with other
/// cores, and with other guests of a host.
fn limit() -> usize {
    static LIMIT: AtomicUsize = AtomicUsize::new(0);
    let known = LIMIT.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let limit = match sizes() {
        [_, 0, _] => UNKNOWN,
        [_, second, 0] => SHARE * second,
        [_, second, last] => last.min(SHARE * second),
    };
    let limit = limit.max(LEAST);
    LIMIT.store(limit, Ordering::Relaxed);
    limit
}

/// The bytes of each level's cache, 0 where there is none or nothing is known of it.
#[cfg(target_arch = "x86_64")]
fn sizes() -> [usize; 3] {
    let mut sizes = [0; 3];
    for cache in raw_cpuid::CpuId::new().get_cache_parameters().into_iter().flatten() {
        let level = usize::from(cache.level()).wrapping_sub(1);
        if let (Some(size), true) =
            (sizes.get_mut(level), cache.cache_type() != raw_cpuid::CacheType::Instruction)
        {
            *size = cache.sets()
                * cache.associativity()
                * cache.physical_line_partitions()
                * cache.coherency_line_size();
        }
    }
    sizes
}

/// Where nothing is streamed.
#[cfg(not(target_arch = "x86_64"))]
fn sizes() -> [usize; 3] {
    [0; 3]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_is_never_too_much() {
        assert!(!are_exceeded_by(LEAST - 1));
        assert!(are_exceeded_by(usize::MAX));
    }

    /// Held against what the system says, on systems that say it.
    #[test]
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    fn the_second_level_is_as_large_as_the_system_says() {
        if crate::effort::is_emulated() {
            // The system is not the emulated processor's.
            return;
        }
        let path = "/sys/devices/system/cpu/cpu0/cache/index2";
        let read = |file| std::fs::read_to_string(format!("{path}/{file}"));
        let (Ok(level), Ok(size)) = (read("level"), read("size")) else { return };
        if level.trim() == "2" {
            let kibibytes: usize = size.trim().trim_end_matches('K').parse().unwrap();
            assert_eq!(sizes()[1], kibibytes << 10);
        }
    }
}
