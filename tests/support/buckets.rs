//! Where holds lie by the time at which they end, told again for the models: none of the crate's code.

/// The end of the bucket of a hold that is reserved at `now_ms`. From a width of 8,192 ms on buckets are named for whole
/// seconds: for the second's end, and so that this second stays within the eighth.
pub fn bucket_of_reserved(now_ms: i64, ttl_ms: i64) -> i64 {
    let width_ms = width_ms(ttl_ms / 8 - 1000);
    if width_ms < 8192 {
        return bucket_of(now_ms + ttl_ms, ttl_ms);
    }
    up((now_ms / 1000 + 1) * 1000 + ttl_ms, width_ms)
}

/// The end of the bucket of a hold that ends then, of the largest power of two up to an eighth of its TTL.
pub fn bucket_of(expires_ms: i64, ttl_ms: i64) -> i64 {
    up(expires_ms, width_ms(ttl_ms / 8))
}

fn width_ms(most_ms: i64) -> i64 {
    let mut width_ms = 1;
    while width_ms * 2 <= most_ms {
        width_ms *= 2;
    }
    width_ms
}

fn up(ms: i64, width_ms: i64) -> i64 {
    (ms + width_ms - 1) / width_ms * width_ms
}
