"""What gazeshift costs, beside what it is compared with: ``python -m bench look|memory|pgd|study|all``."""
