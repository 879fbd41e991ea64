//! Where chance comes from: one injected generator, so that a run can be repeated from its seed.

/// The only source of random numbers in Larder.
///
/// It decides jitter, early refreshes and lease tokens. Tokens are compared, never kept secret, so the generator
/// need not be cryptographic; but it must not repeat across processes, or two of them could draw the same token.
pub trait Rng: Send + Sync + 'static {
    /// Draws 64 uniformly distributed bits.
    fn next_u64(&self) -> u64;

    /// Draws uniformly from `(0, 1]`: never zero, so that its logarithm is finite.
    fn draw(&self) -> f64 {
        ((self.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}
