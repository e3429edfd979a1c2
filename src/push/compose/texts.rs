//! The words that stand for what a notification cannot show, in five languages.

/// A language notifications speak.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Language {
    #[default]
    En,
    ZhHans,
    ZhHant,
    Ja,
    Ko,
}

impl Language {
    /// The BCP 47 tags by which the configuration names them.
    pub const TAGS: [(&'static str, Language); 5] = [
        ("en", Language::En),
        ("zh-Hans", Language::ZhHans),
        ("zh-Hant", Language::ZhHant),
        ("ja", Language::Ja),
        ("ko", Language::Ko),
    ];

    /// The language of a BCP 47 tag or a POSIX locale (`zh_TW`), if it is one of ours.
    pub fn of(locale: &str) -> Option<Language> {
        let lower = locale.to_ascii_lowercase();
        let mut parts = lower.split(['-', '_', '.']);
        match parts.next()? {
            "en" => Some(Language::En),
            "ja" => Some(Language::Ja),
            "ko" => Some(Language::Ko),
            "zh" => {
                // The script decides; where it is missing, the region does.
                let traditional = parts.any(|part| matches!(part, "hant" | "tw" | "hk" | "mo"));
                let simplified = lower.contains("hans");
                Some(if traditional && !simplified { Language::ZhHant } else { Language::ZhHans })
            }
            _ => None,
        }
    }
}

/// Something a notification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phrase {
    NewMessageTitle,
    SystemTitle,
    NewMessage,
    Face,
    Location,
    Image,
    Sound,
    File,
    Video,
    Relay,
    Call,
    CallEnded,
    Recalled,
    FriendRequest,
    System,
    /// With `{count}` and `{text}`.
    Count,
}

/// A phrase, its name in the configuration, and its words in the order of `Language::TAGS`.
type Row = (Phrase, &'static str, [&'static str; 5]);

const ROWS: [Row; 16] = [
    (
        Phrase::NewMessageTitle,
        "new_message_title",
        ["New message", "新消息", "新訊息", "新着メッセージ", "새 메시지"],
    ),
    (Phrase::SystemTitle, "system_title", ["Notice", "系统通知", "系統通知", "お知らせ", "알림"]),
    (
        Phrase::NewMessage,
        "new_message",
        [
            "New message",
            "发来一条消息",
            "傳來一則訊息",
            "メッセージが届きました",
            "새 메시지가 있습니다",
        ],
    ),
    (Phrase::Face, "face", ["[Sticker]", "[表情]", "[表情]", "[スタンプ]", "[이모티콘]"]),
    (Phrase::Location, "location", ["[Location]", "[位置]", "[位置]", "[位置情報]", "[위치]"]),
    (Phrase::Image, "image", ["[Photo]", "[图片]", "[圖片]", "[写真]", "[사진]"]),
    (Phrase::Sound, "sound", ["[Voice message]", "[语音]", "[語音]", "[ボイス]", "[음성 메시지]"]),
    (Phrase::File, "file", ["[File]", "[文件]", "[檔案]", "[ファイル]", "[파일]"]),
    (Phrase::Video, "video", ["[Video]", "[视频]", "[影片]", "[動画]", "[동영상]"]),
    (
        Phrase::Relay,
        "relay",
        ["[Chat history]", "[聊天记录]", "[聊天記錄]", "[トーク履歴]", "[대화 기록]"],
    ),
    (
        Phrase::Call,
        "call",
        ["Incoming call", "邀请你通话", "邀請你通話", "着信中", "전화가 왔습니다"],
    ),
    (
        Phrase::CallEnded,
        "call_ended",
        ["Missed call", "未接来电", "未接來電", "不在着信", "부재중 전화"],
    ),
    (
        Phrase::Recalled,
        "recalled",
        [
            "Recalled a message",
            "撤回了一条消息",
            "收回了一則訊息",
            "メッセージの送信を取り消しました",
            "메시지를 취소했습니다",
        ],
    ),
    (
        Phrase::FriendRequest,
        "friend_request",
        [
            "Wants to add you as a friend",
            "请求添加你为好友",
            "請求加你為好友",
            "友だち追加のリクエスト",
            "친구 추가를 요청했습니다",
        ],
    ),
    (
        Phrase::System,
        "system",
        ["New notice", "你有一条新通知", "你有一則新通知", "新しいお知らせ", "새 알림"],
    ),
    (
        Phrase::Count,
        "count",
        [
            "({count} messages) {text}",
            "[{count}条] {text}",
            "[{count}則] {text}",
            "({count}件) {text}",
            "({count}개) {text}",
        ],
    ),
];

impl Phrase {
    /// The built-in words.
    pub fn text(self, language: Language) -> &'static str {
        let row = ROWS.iter().find(|(phrase, _, _)| *phrase == self);
        let words = row.map_or([""; 5], |(_, _, words)| *words);
        words[language as usize]
    }

    /// The phrase of this name in the configuration.
    pub fn named(name: &str) -> Option<Phrase> {
        ROWS.iter().find(|(_, known, _)| *known == name).map(|(phrase, _, _)| *phrase)
    }

    /// Every name the configuration knows.
    pub fn names() -> impl Iterator<Item = &'static str> {
        ROWS.iter().map(|(_, name, _)| *name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_script_decides_and_else_the_region() {
        assert_eq!(Language::of("zh-Hans-CN"), Some(Language::ZhHans));
        assert_eq!(Language::of("zh_TW"), Some(Language::ZhHant));
        assert_eq!(Language::of("zh-Hant"), Some(Language::ZhHant));
        assert_eq!(Language::of("zh-Hans-HK"), Some(Language::ZhHans));
        assert_eq!(Language::of("en-GB"), Some(Language::En));
        assert_eq!(Language::of("fr-FR"), None);
    }

    #[test]
    fn every_phrase_has_words_in_every_language() {
        for (phrase, name, words) in ROWS {
            assert!(words.iter().all(|words| !words.is_empty()), "{name}");
            assert_eq!(Phrase::named(name), Some(phrase));
        }
    }
}
