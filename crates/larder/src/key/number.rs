//! Integers as decimal text, without allocating.

/// Room for any 128-bit integer with its sign.
const DIGITS_MAX: usize = 40;

/// Decimal text in a buffer of its own.
pub(super) struct Decimal {
    text: [u8; DIGITS_MAX],
    begin: usize,
}

impl Decimal {
    pub(super) fn unsigned(mut number: u64) -> Self {
        let mut decimal = Self::EMPTY;
        loop {
            decimal.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(super) fn signed(number: i64) -> Self {
        let mut decimal = Self::unsigned(number.unsigned_abs());
        if number < 0 {
            decimal.push(b'-');
        }
        decimal
    }

    pub(super) fn wide(mut number: u128) -> Self {
        let mut decimal = Self::EMPTY;
        loop {
            decimal.push(b'0' + (number % 10) as u8);
            number /= 10;
            if number == 0 {
                return decimal;
            }
        }
    }

    pub(super) fn wide_signed(number: i128) -> Self {
        let mut decimal = Self::wide(number.unsigned_abs());
        if number < 0 {
            decimal.push(b'-');
        }
        decimal
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[self.begin..]
    }

    const EMPTY: Self = Self { text: [0; DIGITS_MAX], begin: DIGITS_MAX };

    fn push(&mut self, digit: u8) {
        self.begin -= 1;
        self.text[self.begin] = digit;
    }
}
