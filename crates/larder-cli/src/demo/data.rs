//! The cities as shipped: GeoNames' table, unpacked.

use super::model::City;

/// Who is to be named wherever the data are shown; their licence asks for it.
pub(crate) const ATTRIBUTION: &str = "City data: GeoNames (geonames.org), CC BY 4.0";

/// See `data/README.md` for where it comes from and under which licence.
static TABLE: &[u8] = include_bytes!("../../data/cities.tsv.zst");

/// Far more than the table unpacks to (2 MiB): a bound on what is allocated for it.
const MAX_TABLE_BYTES: usize = 16 << 20;

/// Every city as shipped, largest first (equals by id), each with version 1.
pub(crate) fn cities() -> Vec<City> {
    let bytes =
        zstd::bulk::decompress(TABLE, MAX_TABLE_BYTES).expect("built into the binary, and a test unpacks it");
    let text = String::from_utf8(bytes).expect("built into the binary, and a test reads it");
    let mut cities: Vec<City> =
        text.lines().map(|line| city(line).expect("built into the binary, and a test parses it")).collect();
    cities.sort_by_key(|city| (std::cmp::Reverse(city.population), city.id));
    cities
}

/// Tells one shipped table from another, so that a database made from an older one is made anew.
pub(crate) fn fingerprint() -> String {
    // FNV-1a: it need only differ when the table does.
    let hash = TABLE.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

fn city(line: &str) -> Option<City> {
    let mut fields = line.split('\t');
    let city = City {
        id: fields.next()?.parse().ok()?,
        name: fields.next()?.to_owned(),
        country: fields.next()?.to_owned(),
        latitude: fields.next()?.parse().ok()?,
        longitude: fields.next()?.parse().ok()?,
        population: fields.next()?.parse().ok()?,
        timezone: fields.next()?.to_owned(),
        version: 1,
    };
    fields.next().is_none().then_some(city)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_table_unpacks_to_the_worlds_cities() {
        let cities = cities();
        assert_eq!(cities.len(), 34_006);
        assert_eq!(cities[0].name, "Shanghai");
        let berlin = cities.iter().find(|city| city.id == 2_950_159).expect("Berlin");
        assert_eq!((berlin.name.as_str(), berlin.country.as_str()), ("Berlin", "DE"));
        assert!((berlin.latitude - 52.52).abs() < 0.1 && berlin.timezone == "Europe/Berlin");
        assert!(TABLE.len() <= 1_500_000);
    }

    #[test]
    fn a_line_with_a_field_too_few_or_too_many_is_no_city() {
        assert!(city("1\tA\tDE\t1.0\t2.0\t3").is_none());
        assert!(city("1\tA\tDE\t1.0\t2.0\t3\tX\tY").is_none());
        assert!(city("1\tA\tDE\t1.0\t2.0\t3\tX").is_some());
    }
}
