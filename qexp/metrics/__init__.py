"""What estimates are judged by: metrics, and how far their numbers can be trusted."""
