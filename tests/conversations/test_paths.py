from __future__ import annotations

import pytest

from conversations import actions, branches
from conversations.models import Conversation, Message
from conversations.paths import Changes, Tree, changes_since

# 1 ─ 2 ─ 3 ─ 6
#   └ 4 ─ 5
# 7
TREE = Tree({1: None, 2: 1, 3: 2, 4: 1, 5: 4, 6: 3, 7: None})


def changes_of(shown: Conversation, first: int) -> Changes:
    """What a page lacks that shows the conversation as it was, from the message `first` on."""
    return changes_since(
        Conversation.objects.get(), version=shown.version, leaf_id=shown.leaf_id, first=first
    )


@pytest.mark.parametrize(
    ("leaf", "path"), [(6, [1, 2, 3, 6]), (5, [1, 4, 5]), (7, [7]), (None, []), (99, [])]
)
def test_a_path_leads_from_the_root_to_a_leaf(leaf, path):
    assert TREE.path_to(leaf) == path


@pytest.mark.parametrize(("pk", "leaf"), [(1, 6), (2, 6), (3, 6), (4, 5), (5, 5), (6, 6), (7, 7)])
def test_the_newest_leaf_is_the_newest_message_of_the_branch(pk, leaf):
    assert TREE.newest_leaf(pk) == leaf


def test_each_message_knows_its_variants_and_its_place_among_them(variants):
    tree = Tree.of(variants[0].conversation_id)
    first, second, third = variants
    prompt, shown = tree.messages([first.parent_id, second.pk])
    assert (shown.variant, len(shown.variants)) == (2, 3)
    assert (shown.previous_variant, shown.next_variant) == (first.pk, third.pk)
    assert prompt.variants == [prompt.pk]
    assert (prompt.previous_variant, prompt.next_variant) == (None, None)


def test_a_page_of_one_branch_becomes_a_page_of_another(variants):
    first, second, third = variants
    shown = Conversation.objects.get()
    branches.show_branch(second)
    changes = changes_of(shown, third.pk)
    assert changes.removed == [third.pk]
    assert (changes.first, changes.is_anew) == (second.pk, False)
    assert changes.changed == []
    assert [message.content for message in changes.added] == ["Second", "More", "And more"]
    assert changes.added[0].variants == [first.pk, second.pk, third.pk]


def test_what_changed_above_a_page_is_none_of_its_business(variants):
    branches.show_branch(variants[1])
    shown = Conversation.objects.get()
    newer = Message.objects.get(content="More")
    actions.rate(variants[1], "good")
    for first, rated in ((0, [variants[1]]), (variants[1].pk, [variants[1]]), (newer.pk, [])):
        changes = changes_of(shown, first)
        assert changes.rated == rated
        assert (changes.removed, changes.changed, changes.added) == ([], [], [])
        assert changes.first == (first or variants[1].parent_id)
        assert not changes.is_anew


def test_where_paths_part_above_a_page_it_needs_its_list_anew(variants):
    branches.show_branch(variants[1])
    shown = Conversation.objects.get()
    newer = Message.objects.get(content="More")
    branches.show_branch(variants[0])
    for first, is_anew in ((0, False), (variants[1].pk, False), (newer.pk, True)):
        assert changes_of(shown, first).is_anew is is_anew
