//! A test bench: stacks of one shape over the same servers and folders, each with a cache of rows.

use larder::{Answer, Cache, Memory, Policy, Result, Stack, StackBuilder, TierSettings, minutes, secs};
use larder_disk::{DiskSettings, DiskStore};
use larder_redis::{RedisSettings, RedisStore};
use larder_testkit::RedisServer;
use tempfile::TempDir;

use crate::origin::{Origin, Row};

/// Which tiers a stack has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Memory alone.
    Memory,
    /// Memory over disk.
    MemoryDisk,
    /// Memory over Redis.
    MemoryRedis,
    /// Memory over disk over Redis.
    MemoryDiskRedis,
    /// Redis alone.
    Redis,
}

impl Shape {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Memory, Self::MemoryDisk, Self::MemoryRedis, Self::MemoryDiskRedis, Self::Redis];

    /// Whether it has Redis.
    #[must_use]
    pub fn has_redis(self) -> bool {
        matches!(self, Self::MemoryRedis | Self::MemoryDiskRedis | Self::Redis)
    }

    fn has_disk(self) -> bool {
        matches!(self, Self::MemoryDisk | Self::MemoryDiskRedis)
    }

    fn has_memory(self) -> bool {
        self != Self::Redis
    }
}

/// The servers and folders of a test, and its origin.
pub struct Bench {
    /// Which tiers its stacks have.
    pub shape: Shape,
    /// The Redis server, if the shape has one.
    pub redis: Option<RedisServer>,
    /// The folder of the disk tier.
    pub folder: TempDir,
    /// The system of record.
    pub origin: Origin,
}

impl Bench {
    /// Starts what the shape needs.
    ///
    /// # Panics
    /// When a server does not start.
    pub async fn new(shape: Shape) -> Self {
        let redis = if shape.has_redis() { Some(RedisServer::start().await) } else { None };
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { shape, redis, folder, origin: Origin::default() }
    }

    /// The server.
    ///
    /// # Panics
    /// When the shape has none.
    #[must_use]
    pub fn redis(&self) -> &RedisServer {
        self.redis.as_ref().expect("the shape has Redis")
    }

    /// A builder with the shape's tiers. Only one stack at a time may hold the disk's folder.
    ///
    /// # Panics
    /// When a store does not open.
    pub async fn builder(&self) -> StackBuilder {
        let mut builder = Stack::builder();
        if self.shape.has_memory() {
            builder = builder.memory(Memory::max_bytes(16 << 20));
        }
        if self.shape.has_disk() {
            let disk = DiskStore::open(DiskSettings::new(self.folder.path().join("larder"))).await;
            // A test machine writes to disk while it compiles; what is tested here is not the timeout.
            let tier = TierSettings::new().with_timeout(secs(5));
            builder = builder.store_with(disk.expect("the disk tier opens"), tier);
        }
        if let Some(redis) = &self.redis {
            let settings = RedisSettings::new(redis.url()).with_command_timeout(secs(5)).with_lazy(true);
            let store = RedisStore::connect(settings).await.expect("Redis answers");
            builder = builder.store_with(store, TierSettings::new().with_timeout(secs(2)));
        }
        builder
    }

    /// A stack and its cache of rows.
    ///
    /// # Panics
    /// When it does not build.
    pub async fn node(&self, policy: Policy) -> (Stack, Cache<u64, Row>) {
        let stack = self.builder().await.build().await.expect("the stack builds");
        let cache = stack.cache("row").policy(policy).build().expect("the cache builds");
        (stack, cache)
    }

    /// Reads a row through a cache; answers its version.
    ///
    /// # Errors
    /// The cache's.
    ///
    /// # Panics
    /// When the row is not the key's.
    pub async fn read(&self, cache: &Cache<u64, Row>, key: u64) -> Result<u64> {
        let origin = self.origin.clone();
        let row = cache
            .get_or_load(&key, move |_| async move { Ok::<_, larder::Error>(origin.load(key).await) })
            .await?;
        Ok(Origin::version_in(key, &row.expect("the origin has every row")))
    }

    /// The version that a cache knows without loading.
    ///
    /// # Panics
    /// When the read fails, or the row is not the key's.
    pub async fn known(cache: &Cache<u64, Row>, key: u64) -> Option<u64> {
        match cache.get(&key).await.expect("a read does not fail") {
            Answer::Value(row) => Some(Origin::version_in(key, &row)),
            Answer::Absent | Answer::Miss => None,
        }
    }
}

/// Five minutes, and nothing stale ever.
#[must_use]
pub fn plain() -> Policy {
    Policy::ttl(minutes(5))
}
