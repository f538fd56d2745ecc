//! The words of dhclient's files, as its lexer (common/conflex.c) takes them.
//!
//! Statements end with `;`, blocks stand between braces, text between quotes with the escapes of
//! `read_string`, comments go from `#` to the end of the line. Commas only part, here.

/// One word or text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Token<'a> {
    /// A bare word.
    Word(&'a str),
    /// What stood between quotes; need not be UTF-8.
    Text(Vec<u8>),
}

/// The file ends where more must come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cut;

/// A file from some point on.
#[derive(Debug)]
pub(crate) struct Tokens<'a> {
    rest: &'a str,
}

/// What ends a statement, besides words.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Token(Token<'a>),
    Semicolon,
    Open,
    Close,
}

impl<'a> Tokens<'a> {
    /// The words of a text.
    pub(crate) fn of(text: &'a str) -> Tokens<'a> {
        Tokens { rest: text }
    }

    /// Goes to the first statement of the next `lease`; false when there is none.
    pub(crate) fn next_lease(&mut self) -> Result<bool, Cut> {
        let mut words: Vec<Token<'a>> = Vec::new();
        loop {
            match self.piece()? {
                None if words.is_empty() => return Ok(false),
                None => return Err(Cut),
                Some(Piece::Token(token)) => words.push(token),
                Some(Piece::Semicolon | Piece::Close) => words.clear(),
                Some(Piece::Open) if words == [Token::Word("lease")] => return Ok(true),
                Some(Piece::Open) => {
                    self.skip_block()?;
                    words.clear();
                }
            }
        }
    }

    /// The words of the next statement of a block; none at its end.
    pub(crate) fn statement(&mut self) -> Result<Option<Vec<Token<'a>>>, Cut> {
        let mut words = Vec::new();
        loop {
            match self.piece()?.ok_or(Cut)? {
                Piece::Token(token) => words.push(token),
                Piece::Semicolon => return Ok(Some(words)),
                // Also one that stands behind a statement which nobody ended.
                Piece::Close => return Ok(None),
                Piece::Open => {
                    self.skip_block()?;
                    return Ok(Some(Vec::new()));
                }
            }
        }
    }

    /// Goes behind the brace that closes a block.
    fn skip_block(&mut self) -> Result<(), Cut> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.piece()?.ok_or(Cut)? {
                Piece::Open => depth += 1,
                Piece::Close => depth -= 1,
                Piece::Token(_) | Piece::Semicolon => {}
            }
        }
        Ok(())
    }

    fn piece(&mut self) -> Result<Option<Piece<'a>>, Cut> {
        loop {
            self.rest = self.rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == ',');
            match self.rest.strip_prefix('#') {
                Some(comment) => {
                    self.rest = comment.split_once('\n').map_or("", |(_, after)| after);
                }
                None => break,
            }
        }
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let piece = match first {
            ';' => Piece::Semicolon,
            '{' => Piece::Open,
            '}' => Piece::Close,
            '"' => return self.text().map(|text| Some(Piece::Token(Token::Text(text)))),
            _ => {
                let is_end = |c: char| c.is_ascii_whitespace() || ",;{}\"#".contains(c);
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                return Ok(Some(Piece::Token(Token::Word(word))));
            }
        };
        self.rest = &self.rest[1..];
        Ok(Some(piece))
    }

    /// What stands between quotes; the first of them is next.
    fn text(&mut self) -> Result<Vec<u8>, Cut> {
        let mut text = Vec::new();
        let mut bytes = self.rest.bytes().enumerate().skip(1).peekable();
        while let Some((at, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(text);
                }
                b'\\' => {
                    let (_, escaped) = bytes.next().ok_or(Cut)?;
                    let (mut value, radix, digits) = match escaped {
                        b't' => (9, 0, 0),
                        b'r' => (13, 0, 0),
                        b'n' => (10, 0, 0),
                        b'b' => (8, 0, 0),
                        b'x' => (0, 16, 2),
                        b'0'..=b'3' => (u32::from(escaped - b'0'), 8, 2),
                        other => (u32::from(other), 0, 0),
                    };
                    for _ in 0..digits {
                        let Some((_, next)) = bytes.peek() else { break };
                        let Some(digit) = char::from(*next).to_digit(radix) else { break };
                        value = value * radix + digit;
                        bytes.next();
                    }
                    // Two digits behind a first of 0 to 3, or two of 16: at most 255.
                    text.push(u8::try_from(value).unwrap_or(u8::MAX));
                }
                byte => text.push(byte),
            }
        }
        Err(Cut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_and_their_escapes() {
        let text = |quoted: &str| match Tokens::of(quoted).piece() {
            Ok(Some(Piece::Token(Token::Text(text)))) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(text(r#""a b;{}#""#), b"a b;{}#");
        assert_eq!(text(r#""\000\012\1\377\t\"\\\x41\xg""#), b"\x00\x0a\x01\xff\t\"\\A\x00g");
        assert_eq!(Tokens::of("\"never ends").piece(), Err(Cut));
        assert_eq!(Tokens::of("\"\\").piece(), Err(Cut));
    }

    #[test]
    fn words_end_where_something_else_begins() {
        let mut tokens = Tokens::of("a,b c;{}#x\nd\"e\"");
        let mut pieces = Vec::new();
        while let Ok(Some(piece)) = tokens.piece() {
            pieces.push(piece);
        }
        assert_eq!(pieces.len(), 8);
    }
}
