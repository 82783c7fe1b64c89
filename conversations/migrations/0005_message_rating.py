import django.utils.timezone
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('conversations', '0004_search'),
    ]

    operations = [
        migrations.AddField(
            model_name='message',
            name='rating',
            field=models.CharField(blank=True, choices=[('good', 'Good answer'), ('bad', 'Bad answer')], max_length=4),
        ),
        migrations.AddField(
            model_name='message',
            name='rating_version',
            field=models.PositiveBigIntegerField(default=0, editable=False),
        ),
        migrations.AddField(
            model_name='message',
            name='rating_word',
            field=models.CharField(blank=True, max_length=500),
        ),
        migrations.AlterField(
            model_name='message',
            name='created_at',
            field=models.DateTimeField(default=django.utils.timezone.now, editable=False),
        ),
        migrations.AddConstraint(
            model_name='message',
            constraint=models.CheckConstraint(condition=models.Q(('role', 'assistant'), ('rating', ''), _connector='OR'), name='message_rating_only_for_answers'),
        ),
    ]
