"""PostgreSQL's index for searching messages; SQLite's is kept by `conversations.search_index`.

The extension is trusted since PostgreSQL 13: who may create in the database may create it.
"""

from django.db import migrations


def create(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        # The expression of Django's `icontains`.
        schema_editor.execute(
            "CREATE INDEX conversations_message_search ON conversations_message "
            "USING gin (UPPER(content) gin_trgm_ops)"
        )


def drop(apps, schema_editor):
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP INDEX conversations_message_search")


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0003_sidebar'),
    ]

    operations = [
        migrations.RunPython(create, drop),
    ]
