//! Licence expressions: `MIT OR (Apache-2.0 WITH LLVM-exception AND ISC)`.

/// Whether the terms can be met with licences that `allowed` accepts. `Err` for what is no expression.
///
/// An exception (`WITH`) only adds to what a licence permits; the licence before it decides.
pub(crate) fn satisfied(expression: &str, allowed: &dyn Fn(&str) -> bool) -> Result<bool, String> {
    // Old manifests write `MIT/Apache-2.0`.
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let mut reader = Reader { words: spaced.split_whitespace().collect(), at: 0, allowed };
    let answer = reader.any()?;
    match reader.peek() {
        None => Ok(answer),
        Some(word) => Err(format!("`{word}` is not expected in `{expression}`")),
    }
}

struct Reader<'a> {
    words: Vec<&'a str>,
    at: usize,
    allowed: &'a dyn Fn(&str) -> bool,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    fn eat(&mut self, word: &str) -> bool {
        let found = self.peek() == Some(word);
        self.at += usize::from(found);
        found
    }

    /// `all OR all …`
    fn any(&mut self) -> Result<bool, String> {
        let mut answer = self.all()?;
        while self.eat("OR") {
            answer |= self.all()?;
        }
        Ok(answer)
    }

    /// `one AND one …`
    fn all(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.eat("AND") {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    fn one(&mut self) -> Result<bool, String> {
        if self.eat("(") {
            let answer = self.any()?;
            return if self.eat(")") { Ok(answer) } else { Err("a parenthesis stays open".to_owned()) };
        }
        let licence = self.name()?;
        if self.eat("WITH") {
            self.name()?;
        }
        Ok((self.allowed)(licence))
    }

    fn name(&mut self) -> Result<&'a str, String> {
        let word = self.peek().filter(|word| !matches!(*word, "OR" | "AND" | "WITH" | "(" | ")"));
        self.at += 1;
        word.ok_or_else(|| "a licence is missing".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mit_or_apache(expression: &str) -> Result<bool, String> {
        satisfied(expression, &|licence| matches!(licence, "MIT" | "Apache-2.0"))
    }

    #[test]
    fn one_of_a_choice_is_enough_and_all_of_a_sum_are_needed() {
        for (expression, expected) in [
            ("MIT", true),
            ("GPL-3.0", false),
            ("GPL-3.0 OR MIT", true),
            ("GPL-3.0/MIT", true),
            ("MIT AND GPL-3.0", false),
            ("MIT AND GPL-3.0 OR Apache-2.0", true),
            ("MIT AND (GPL-3.0 OR Apache-2.0)", true),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", false),
            ("Apache-2.0 WITH LLVM-exception", true),
            ("GPL-3.0 WITH Classpath-exception-2.0", false),
        ] {
            assert_eq!(mit_or_apache(expression), Ok(expected), "{expression}");
        }
    }

    #[test]
    fn what_is_no_expression_is_an_error() {
        for expression in ["", "MIT OR", "(MIT", "MIT Apache-2.0", "AND", "MIT WITH", "MIT)"] {
            assert!(mit_or_apache(expression).is_err(), "{expression}");
        }
    }
}
